#include "evenkeel/nn/idx.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <memory>

#include "evenkeel/core/files.h"
#include "evenkeel/core/sha256.h"
#include "evenkeel/nn/data.h"

namespace evenkeel::data {
namespace {

/// The content of a file, decompressed if it is gzipped: of all its gzip members, one after another.
class Content {
 public:
  explicit Content(const std::filesystem::path& file) : in_(file) {
    refill();
    gzipped_ = have_ >= 2 && at_[0] == 0x1f && at_[1] == 0x8b;
    if (gzipped_ && inflateInit2(&stream_, 16 + MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~Content() {
    if (gzipped_) inflateEnd(&stream_);
  }
  Content(const Content&) = delete;
  Content& operator=(const Content&) = delete;

  /// Reads up to n bytes; fewer only at the end.
  std::int64_t read(void* bytes, std::int64_t n) {
    auto* to = static_cast<unsigned char*>(bytes);
    std::int64_t done = 0;
    while (done < n && !ended_) {
      const std::size_t want = static_cast<std::size_t>(std::min<std::int64_t>(n - done, 1 << 30));
      done += static_cast<std::int64_t>(gzipped_ ? decompress(to + done, want) : copy(to + done, want));
    }
    sha256_.update(bytes, static_cast<std::size_t>(done));
    return done;
  }

  /// The most bytes that the content can have: deflate shrinks at most 1032 times.
  std::int64_t most_bytes() const {
    const auto size = static_cast<std::int64_t>(std::min<std::uint64_t>(in_.size(), INT64_MAX / 1032));
    return gzipped_ ? size * 1032 : size;
  }

  std::string sha256() { return sha256_.hex(); }

 private:
  /// Makes sure that there is input, unless the file has ended.
  void refill() {
    if (have_ > 0) return;
    have_ = in_.read(buffer_.data(), buffer_.size());
    at_ = buffer_.data();
  }

  void take(std::size_t n) {
    at_ += n;
    have_ -= n;
  }

  std::size_t copy(unsigned char* to, std::size_t n) {
    refill();
    n = std::min(n, have_);
    std::copy_n(at_, n, to);
    take(n);
    ended_ = n == 0;
    return n;
  }

  std::size_t decompress(unsigned char* to, std::size_t n) {
    refill();
    if (have_ == 0) fail<Malformed>("is cut short: its gzip stream has no end");
    stream_.next_in = const_cast<unsigned char*>(at_);
    stream_.avail_in = static_cast<unsigned>(have_);
    stream_.next_out = to;
    stream_.avail_out = static_cast<unsigned>(n);
    const int code = inflate(&stream_, Z_NO_FLUSH);
    take(have_ - stream_.avail_in);
    if (code == Z_STREAM_END) {
      begin_next_member();
    } else if (code == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (code != Z_OK && code != Z_BUF_ERROR) {
      fail<Malformed>("is damaged: {}", stream_.msg != nullptr ? stream_.msg : "its gzip stream is wrong");
    }
    return n - stream_.avail_out;
  }

  /// After a member comes another, or the end; zeros that fill up a block of a tape are no content.
  void begin_next_member() {
    for (refill(); have_ > 0 && *at_ == 0; refill()) take(1);
    ended_ = have_ == 0;
    if (ended_) return;
    if (*at_ != 0x1f) fail<Malformed>("goes on after its gzip stream");
    inflateReset(&stream_);
  }

  InputFile in_;
  std::array<unsigned char, 1 << 16> buffer_{};
  const unsigned char* at_ = nullptr;  // in buffer_: the next of the bytes that have been read
  std::size_t have_ = 0;
  bool gzipped_ = false, ended_ = false;
  z_stream stream_{};
  Sha256 sha256_;
};

/// Reads an IDX header and checks it against the length of the content.
Shape read_header(Content& content, int rank) {
  std::array<unsigned char, 4 + 4 * kMaxRank> header{};
  const std::int64_t bytes = 4 + 4 * rank;
  if (content.read(header.data(), bytes) < bytes)
    fail<Malformed>("ends inside its header of {} bytes", bytes);
  if (header[0] != 0 || header[1] != 0 || header[2] != 8) {
    fail<Malformed>("is not an IDX file of unsigned bytes: it starts with {:02x}, not 00 00 08",
                    fmt::join(header.begin(), header.begin() + 3, " "));
  }
  if (header[3] != rank) fail<Malformed>("has rank {}, not {}", header[3], rank);
  const std::int64_t most = content.most_bytes() - bytes;
  Shape shape;
  // The bytes of such a tensor of i64, counting sizes of 0 as 1, so that no stride of it can overflow either.
  std::int64_t widest = 8;
  bool fits = true, none = false;
  for (int axis = 0; axis < rank; ++axis) {
    std::int64_t size = 0;
    for (int i = 0; i < 4; ++i) size = size << 8 | header[4 + 4 * axis + i];
    shape.push_back(size);
    none = none || size == 0;
    fits = fits && !__builtin_mul_overflow(widest, std::max<std::int64_t>(size, 1), &widest);
  }
  if (!fits || (!none && widest / 8 > most))
    fail<Malformed>("is too short for {} elements", fmt::join(shape, " x "));
  return shape;
}

}  // namespace

IdxFile read_idx_file(const std::filesystem::path& file, int rank) {
  Content content(file);
  const Shape shape = read_header(content, rank);
  Tensor y = empty(shape, {DType::u8});
  const std::int64_t got = content.read(y.mutable_data<std::uint8_t>(), y.numel());
  if (got < y.numel()) fail<Malformed>("ends after {} of its {} elements", got, y.numel());
  unsigned char surplus = 0;
  if (content.read(&surplus, 1) != 0) fail<Malformed>("goes on after its {} elements", y.numel());
  return {y, content.sha256()};
}

Tensor read_idx(const std::filesystem::path& file, int rank) {
  EK_CHECK(0 <= rank && rank <= kMaxRank, "read_idx: rank {} given, 0 to {} are possible", rank, kMaxRank);
  return reading(file, "give an undamaged IDX file", [&] { return read_idx_file(file, rank).values; });
}

}  // namespace evenkeel::data
