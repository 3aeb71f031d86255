#include "evenkeel/nn/safetensors.h"
#include "evenkeel/core/dispatch.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <set>
#include <string_view>

#include "evenkeel/core/files.h"
#include "evenkeel/core/json.h"

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
constexpr int kMostDepth = 3;  // arrays in objects in an object
constexpr std::array<std::pair<std::string_view, DType>, 6> kDTypes = {{{"F32", DType::f32},
                                                                        {"F64", DType::f64},
                                                                        {"BF16", DType::bf16},
                                                                        {"F16", DType::f16},
                                                                        {"I64", DType::i64},
                                                                        {"U8", DType::u8}}};

// --- reading -----------------------------------------------------------------------------------------------

struct Entry {
  std::string name;
  DType dtype;
  Shape shape;
  std::uint64_t begin, end;
};

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
  if (!value.is_string()) fail<Malformed>("has no text as dtype of tensor {}", in_quotes(name));
  const std::string text = value.get<std::string>();
  const auto found =
      std::find_if(kDTypes.begin(), kDTypes.end(), [&](const auto& known) { return known.first == text; });
  if (found == kDTypes.end()) {
    fail<Malformed>("has tensor {} of dtype {}; F32, F64, BF16, F16, I64 and U8 can be read", in_quotes(name),
                    in_quotes(text));
  }
  return found->second;
}

/// The shape, if it is one and a tensor can have it.
Shape parse_shape(const std::string& name, const Json& value) {
  const auto sizes = unsigned_integers(value);
  if (!sizes) fail<Malformed>("has tensor {} whose shape is not a list of sizes", in_quotes(name));
  if (sizes->size() > kMaxRank) {
    fail<Malformed>("has tensor {} with {} axes; a tensor has at most {}", in_quotes(name), sizes->size(),
                    kMaxRank);
  }
  std::int64_t bytes = 8;  // an upper bound, counting sizes of 0 as 1, so that strides cannot overflow either
  Shape shape;
  for (const std::uint64_t size : *sizes) {
    if (__builtin_mul_overflow(bytes, std::max<std::uint64_t>(size, 1), &bytes)) {
      fail<Malformed>("has tensor {} whose shape [{}] is too large", in_quotes(name),
                      fmt::join(*sizes, ", "));
    }
    shape.push_back(static_cast<std::int64_t>(size));
  }
  return shape;
}

/// One tensor of the header, checked by itself.
Entry parse_entry(const std::string& name, const Json& value, std::uint64_t data_bytes) {
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!value.is_object() || !value.contains(key))
      fail<Malformed>("has tensor {} without {}", in_quotes(name), key);
  }
  const DType dtype = parse_dtype(name, value["dtype"]);
  const Shape shape = parse_shape(name, value["shape"]);
  const auto offsets = unsigned_integers(value["data_offsets"]);
  if (!offsets || offsets->size() != 2) {
    fail<Malformed>("has tensor {} whose data_offsets are not two non-negative integers", in_quotes(name));
  }
  const std::uint64_t begin = offsets->at(0), end = offsets->at(1);
  if (begin > end || end > data_bytes) {
    fail<Malformed>("has tensor {} at bytes {} to {} of {}", in_quotes(name), begin, end, data_bytes);
  }
  const auto needed = static_cast<std::uint64_t>(shape.numel() * size_of(dtype));
  if (end - begin != needed) {
    fail<Malformed>("has tensor {} in {} bytes; {} {} needs {}", in_quotes(name), end - begin, name_of(dtype),
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
      fail<Malformed>("has a {} that does not map text to text", kMetadata);
    }
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.begin < covered) fail<Malformed>("has tensor {} overlapping another", in_quotes(entry.name));
    if (entry.begin > covered) fail<Malformed>("has a hole before tensor {}", in_quotes(entry.name));
    covered = entry.end;
  }
  if (covered != data_bytes)
    fail<Malformed>("has {} bytes at the end that belong to no tensor", data_bytes - covered);
  return entries;
}

void read_exactly(InputFile& in, void* bytes, std::uint64_t n) {
  if (in.read(bytes, n) < n) fail<Malformed>("became shorter while it was read");
}

NamedTensors read(const std::filesystem::path& file, std::map<std::string, std::string>& metadata) {
  InputFile in(file);
  std::uint64_t header_bytes = 0;
  if (in.size() < sizeof header_bytes) fail<Malformed>("has {} bytes, too few for a header", in.size());
  read_exactly(in, &header_bytes, sizeof header_bytes);
  if (header_bytes > kMostHeaderBytes)
    fail<Malformed>("has a header of {} bytes; 100 MB is the limit", header_bytes);
  if (header_bytes > in.size() - sizeof header_bytes) {
    fail<Malformed>("is cut short: its header has {} bytes, the file {}", header_bytes, in.size());
  }
  std::string text(header_bytes, '\0');
  read_exactly(in, text.data(), header_bytes);
  const Json header = parse_json(text, "has a header that is", kMostDepth);
  if (!header.is_object()) fail<Malformed>("has a header that is not a JSON object");
  NamedTensors tensors;
  for (const Entry& entry : parse_entries(header, in.size() - sizeof header_bytes - header_bytes)) {
    Tensor tensor = empty(entry.shape, {entry.dtype});
    dispatch_any(entry.dtype,
                 [&]<typename T>() { read_exactly(in, tensor.mutable_data<T>(), entry.end - entry.begin); });
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
    const auto dtype =
        std::find_if(kDTypes.begin(), kDTypes.end(),
                     [type = tensor.dtype()](const auto& known) { return known.second == type; });
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
  return reading(file, "give an undamaged safetensors file", [&] { return read(file, metadata); });
}

void save_safetensors(const std::filesystem::path& file, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata) {
  const NamedTensors ordered = in_file_order(tensors);
  const std::string header = make_header(ordered, metadata);
  write_file_atomically(file, [&](std::ostream& out) { write(out, ordered, header); });
}

}  // namespace evenkeel
