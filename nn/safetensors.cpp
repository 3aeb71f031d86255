#include "nn/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>

#include "core/files.h"

// A file is: the length of the header (8 bytes, little endian); the header, JSON, which may end in spaces;
// the data.
//   {"__metadata__": {key: text, ...},
//    name: {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, ...}
// Offsets count from the end of the header. The tensors cover the data without holes.

namespace evenkeel {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little endian");

using Json = nlohmann::json;

constexpr std::string_view kMetadata = "__metadata__";
constexpr std::uint64_t kMostHeaderBytes = 100'000'000;
constexpr std::array<std::pair<std::string_view, DType>, 6> kDTypes = {{{"F32", DType::f32},
                                                                        {"F64", DType::f64},
                                                                        {"BF16", DType::bf16},
                                                                        {"F16", DType::f16},
                                                                        {"I64", DType::i64},
                                                                        {"U8", DType::u8}}};

/// A name fit for a one-line message.
std::string in_quotes(std::string_view name) {
  const bool is_long = name.size() > 100;
  return Json(name.substr(0, 100)).dump(-1, ' ', true, Json::error_handler_t::replace) +
         (is_long ? "..." : "");
}

// --- reading -----------------------------------------------------------------------------------------------

struct Entry {
  std::string name;
  DType dtype;
  Shape shape;
  std::uint64_t begin, end;
};

/// What is wrong with a file; load_safetensors puts the file's name before it.
struct Malformed {
  std::string what;
};

template <typename... Args>
[[noreturn]] void malformed(fmt::format_string<Args...> what, Args&&... args) {
  throw Malformed{fmt::format(what, std::forward<Args>(args)...)};
}

/// Parses JSON; refuses what nlohmann::json would let pass: a repeated key, of which it keeps the last, and
/// nesting deeper than a header's (objects in an object, arrays in those).
Json parse_header(const std::string& text) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto check = [&keys](int depth, Json::parse_event_t event, const Json& parsed) {
    using Event = Json::parse_event_t;
    if ((event == Event::object_start || event == Event::array_start) && depth > 2) {
      malformed("has a header nested deeper than 3");
    }
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) {
      malformed("has a header with the key {} twice", in_quotes(parsed.get<std::string>()));
    }
    return true;
  };
  try {
    // nlohmann::json takes a NUL for the end and would not look at what follows.
    if (text.find('\0') != std::string::npos) malformed("has a header that is not JSON: it has a NUL");
    Json header = Json::parse(text, check);
    if (!header.is_object()) malformed("has a header that is not a JSON object");
    return header;
  } catch (const Json::exception&) {
    malformed("has a header that is not JSON");
  }
}

/// The non-negative integers of an array, if `value` is one.
std::optional<std::vector<std::uint64_t>> unsigned_integers(const Json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<std::uint64_t> numbers;
  for (const Json& number : value) {
    if (!number.is_number_unsigned()) return std::nullopt;
    numbers.push_back(number.get<std::uint64_t>());
  }
  return numbers;
}

DType parse_dtype(const std::string& name, const Json& value) {
  if (!value.is_string()) malformed("has no text as dtype of tensor {}", in_quotes(name));
  const std::string text = value.get<std::string>();
  const auto found =
      std::find_if(kDTypes.begin(), kDTypes.end(), [&](const auto& known) { return known.first == text; });
  if (found == kDTypes.end()) {
    malformed("has tensor {} of dtype {}; F32, F64, BF16, F16, I64 and U8 can be read", in_quotes(name),
              in_quotes(text));
  }
  return found->second;
}

/// The shape, if it is one and a tensor can have it.
Shape parse_shape(const std::string& name, const Json& value) {
  const auto sizes = unsigned_integers(value);
  if (!sizes) malformed("has tensor {} whose shape is not a list of sizes", in_quotes(name));
  if (sizes->size() > kMaxRank) {
    malformed("has tensor {} with {} axes; a tensor has at most {}", in_quotes(name), sizes->size(),
              kMaxRank);
  }
  std::int64_t bytes = 8;  // an upper bound, counting sizes of 0 as 1, so that strides cannot overflow either
  Shape shape;
  for (const std::uint64_t size : *sizes) {
    if (__builtin_mul_overflow(bytes, std::max<std::uint64_t>(size, 1), &bytes)) {
      malformed("has tensor {} whose shape [{}] is too large", in_quotes(name), fmt::join(*sizes, ", "));
    }
    shape.push_back(static_cast<std::int64_t>(size));
  }
  return shape;
}

/// One tensor of the header, checked by itself.
Entry parse_entry(const std::string& name, const Json& value, std::uint64_t data_bytes) {
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!value.is_object() || !value.contains(key))
      malformed("has tensor {} without {}", in_quotes(name), key);
  }
  const DType dtype = parse_dtype(name, value["dtype"]);
  const Shape shape = parse_shape(name, value["shape"]);
  const auto offsets = unsigned_integers(value["data_offsets"]);
  if (!offsets || offsets->size() != 2) {
    malformed("has tensor {} whose data_offsets are not two non-negative integers", in_quotes(name));
  }
  const std::uint64_t begin = offsets->at(0), end = offsets->at(1);
  if (begin > end || end > data_bytes) {
    malformed("has tensor {} at bytes {} to {} of {}", in_quotes(name), begin, end, data_bytes);
  }
  const auto needed = static_cast<std::uint64_t>(shape.numel() * size_of(dtype));
  if (end - begin != needed) {
    malformed("has tensor {} in {} bytes; {} {} needs {}", in_quotes(name), end - begin, name_of(dtype),
              shape.str(), needed);
  }
  return {name, dtype, shape, begin, end};
}

/// All tensors of the header in the order of their offsets, checked against each other.
std::vector<Entry> parse_entries(const Json& header, std::uint64_t data_bytes) {
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name != kMetadata) {
      entries.push_back(parse_entry(name, value, data_bytes));
    } else if (!value.is_object() ||
               !std::all_of(value.begin(), value.end(), [](const Json& v) { return v.is_string(); })) {
      malformed("has a {} that does not map text to text", kMetadata);
    }
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.begin < covered) malformed("has tensor {} overlapping another", in_quotes(entry.name));
    if (entry.begin > covered) malformed("has a hole before tensor {}", in_quotes(entry.name));
    covered = entry.end;
  }
  if (covered != data_bytes)
    malformed("has {} bytes at the end that belong to no tensor", data_bytes - covered);
  return entries;
}

void read_exactly(std::istream& in, char* bytes, std::uint64_t n) {
  if (!in.read(bytes, static_cast<std::streamsize>(n))) malformed("cannot be read: {}", std::strerror(errno));
}

NamedTensors read(const std::filesystem::path& file, std::map<std::string, std::string>& metadata) {
  std::error_code error;
  const std::uint64_t file_bytes = std::filesystem::file_size(file, error);
  if (error) malformed("cannot be opened: {}", error.message());
  std::ifstream in(file, std::ios::binary);
  if (!in) malformed("cannot be opened: {}", std::strerror(errno));
  std::uint64_t header_bytes = 0;
  if (file_bytes < sizeof header_bytes) malformed("has {} bytes, too few for a header", file_bytes);
  read_exactly(in, reinterpret_cast<char*>(&header_bytes), sizeof header_bytes);
  if (header_bytes > kMostHeaderBytes)
    malformed("has a header of {} bytes; 100 MB is the limit", header_bytes);
  if (header_bytes > file_bytes - sizeof header_bytes) {
    malformed("is cut short: its header has {} bytes, the file {}", header_bytes, file_bytes);
  }
  std::string text(header_bytes, '\0');
  read_exactly(in, text.data(), header_bytes);
  const Json header = parse_header(text);
  NamedTensors tensors;
  for (const Entry& entry : parse_entries(header, file_bytes - sizeof header_bytes - header_bytes)) {
    Tensor tensor = empty(entry.shape, {entry.dtype});
    dispatch_any(entry.dtype, [&]<typename T>() {
      read_exactly(in, reinterpret_cast<char*>(tensor.mutable_data<T>()), entry.end - entry.begin);
    });
    tensors.emplace_back(entry.name, tensor);
  }
  metadata = header.value(kMetadata, std::map<std::string, std::string>());
  return tensors;
}

// --- writing -----------------------------------------------------------------------------------------------

/// Checks the names; copies to the CPU; puts wide elements first, so that every tensor is aligned in the
/// file.
NamedTensors in_file_order(const NamedTensors& tensors) {
  std::set<std::string_view> names;
  NamedTensors ordered;
  for (const auto& [name, tensor] : tensors) {
    EK_CHECK(tensor.defined(), "save_safetensors: tensor {} is undefined", in_quotes(name));
    EK_CHECK(name != kMetadata, "save_safetensors: {} is not a name for a tensor", kMetadata);
    EK_CHECK(names.insert(name).second, "save_safetensors: two tensors are named {}", in_quotes(name));
    ordered.emplace_back(name, tensor.to(Device::cpu()).contiguous());
  }
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return size_of(a.second.dtype()) > size_of(b.second.dtype());
  });
  return ordered;
}

std::string make_header(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[std::string(kMetadata)] = metadata;
  std::int64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const std::int64_t end = offset + tensor.numel() * size_of(tensor.dtype());
    const std::vector<std::int64_t> sizes(tensor.shape().begin(), tensor.shape().end());
    const auto dtype = std::find_if(kDTypes.begin(), kDTypes.end(),
                                    [&](const auto& known) { return known.second == tensor.dtype(); });
    header[name] = {{"dtype", dtype->first}, {"shape", sizes}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::ordered_json::type_error&) {
    fail("save_safetensors: names and metadata must be UTF-8");
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  EK_CHECK(text.size() <= kMostHeaderBytes, "save_safetensors: the header has {} bytes; 100 MB is the limit",
           text.size());
  return text;
}

void write(std::ostream& out, const NamedTensors& tensors, const std::string& header) {
  const std::uint64_t header_bytes = header.size();
  out.write(reinterpret_cast<const char*>(&header_bytes), sizeof header_bytes);
  out.write(header.data(), static_cast<std::streamsize>(header.size()));
  for (const auto& [name, tensor] : tensors) {
    dispatch_any(tensor.dtype(), [&, &values = tensor]<typename T>() {
      out.write(reinterpret_cast<const char*>(values.data<T>()), values.numel() * size_of(values.dtype()));
    });
  }
}

}  // namespace

NamedTensors load_safetensors(const std::filesystem::path& file) {
  std::map<std::string, std::string> ignored;
  return load_safetensors(file, ignored);
}

NamedTensors load_safetensors(const std::filesystem::path& file,
                              std::map<std::string, std::string>& metadata) {
  try {
    return read(file, metadata);
  } catch (const Malformed& problem) {
    fail<DataError>("{} {}; give an undamaged safetensors file", file.string(), problem.what);
  }
}

void save_safetensors(const std::filesystem::path& file, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata) {
  const NamedTensors ordered = in_file_order(tensors);
  const std::string header = make_header(ordered, metadata);
  write_file_atomically(file, [&](std::ostream& out) { write(out, ordered, header); });
}

}  // namespace evenkeel
