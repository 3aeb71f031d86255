// Tensors in files: IDX and safetensors.
#include <zlib.h>

#include <algorithm>
#include <map>

#include "evenkeel/core/dispatch.h"
#include "evenkeel/nn/data.h"
#include "evenkeel/nn/safetensors.h"
#include "fuzz/files.h"

namespace evenkeel::fuzz {
namespace {

std::string bytes_of(const Tensor& tensor) {
  return dispatch_any(tensor.dtype(), [&]<typename T>() {
    return std::string(reinterpret_cast<const char*>(tensor.data<T>()),
                       static_cast<std::size_t>(tensor.numel()) * sizeof(T));
  });
}

bool same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && bytes_of(a) == bytes_of(b);
}

std::optional<Tensor> read_idx(std::string_view file, int rank) {
  return accepted([&] { return data::read_idx(file_of(file), rank); });
}

/// The rank in the header, or 1.
int rank_of(std::string_view idx) { return idx.size() > 3 && idx[3] >= 0 && idx[3] <= 8 ? idx[3] : 1; }

/// The IDX file of a tensor.
std::string write_idx(const Tensor& t) {
  std::string bytes = {'\0', '\0', '\x08', static_cast<char>(t.rank())};
  for (const std::int64_t size : t.shape()) {
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(size >> shift & 0xff);
  }
  return bytes + bytes_of(t);
}

/// One gzip member.
std::string gzip(std::string_view bytes) {
  z_stream stream = {};
  require(deflateInit2(&stream, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK, "deflate");
  std::string zipped(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(zipped.data());
  stream.avail_out = static_cast<uInt>(zipped.size());
  require(deflate(&stream, Z_FINISH) == Z_STREAM_END, "deflate");
  zipped.resize(stream.total_out);
  deflateEnd(&stream);
  return zipped;
}

}  // namespace

bool idx(std::string_view bytes) {
  const int rank = rank_of(bytes);
  const auto tensor = read_idx(bytes, rank);
  if (!tensor) return false;
  require(write_idx(*tensor) == bytes, "the file is not what was read from it");
  require(!read_idx(bytes, rank == 8 ? 7 : rank + 1), "another rank is accepted");
  return true;
}

/// Byte 0: the others are the file. 1: they are gzipped. Above: they are gzipped in two members, the first of
/// that length, and what has more than 200 bytes is followed by garbage.
bool idx_gz(std::string_view bytes) {
  if (bytes.empty()) return false;
  const auto how = static_cast<unsigned char>(bytes[0]);
  bytes.remove_prefix(1);
  if (how == 0) return read_idx(bytes, 1).has_value() || read_idx(bytes, 3).has_value();
  const int rank = rank_of(bytes);
  const std::size_t first = how == 1 ? bytes.size() : std::min<std::size_t>(how, bytes.size());
  std::string zipped = gzip(bytes.substr(0, first));
  if (how > 1) zipped += gzip(bytes.substr(first));
  const auto plain = read_idx(bytes, rank), read = read_idx(zipped, rank);
  require(plain.has_value() == read.has_value(), "gzipped, it is judged in another way");
  require(!read_idx(zipped + "x", rank), "garbage at the end is accepted");
  require(!read_idx(std::string_view(zipped).substr(0, zipped.size() - 1), rank),
          "its last byte is not needed");
  if (plain) require(same(*plain, *read), "gzipped, it has other values");
  return plain.has_value();
}

bool safetensors(std::string_view bytes) {
  using Metadata = std::map<std::string, std::string>;
  Metadata metadata, again;
  const auto tensors = accepted([&] { return load_safetensors(file_of(bytes), metadata); });
  if (!tensors) return false;
  std::size_t all = 0;
  for (const auto& [name, tensor] : *tensors) all += bytes_of(tensor).size();
  require(all <= bytes.size(), "there are more values than bytes");
  save_safetensors(written_file(), *tensors, metadata);
  const NamedTensors read = load_safetensors(written_file(), again);
  require(metadata == again, "written, it has other metadata");
  require(read.size() == tensors->size(), "written, it has other tensors");
  const std::map<std::string, Tensor> by_name(read.begin(), read.end());
  for (const auto& [name, tensor] : *tensors)
    require(by_name.contains(name) && same(by_name.at(name), tensor), "written, a tensor is another");
  return true;
}

}  // namespace evenkeel::fuzz
