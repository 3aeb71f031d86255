#include "nn/data.h"

#include <openssl/evp.h>
#include <zlib.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <memory>
#include <numbers>
#include <string>
#include <string_view>

namespace evenkeel::data {
namespace {

// --- IDX ---------------------------------------------------------------------------------------------------

/// SHA-256 of what it is fed.
class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    EK_CHECK(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1,
             "OpenSSL has no SHA-256");
  }
  void update(const void* bytes, std::size_t n) {
    EK_CHECK(EVP_DigestUpdate(context_.get(), bytes, n) == 1, "OpenSSL's SHA-256 failed");
  }
  std::string hex() {
    std::array<unsigned char, 32> digest{};
    EK_CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1, "OpenSSL's SHA-256 failed");
    return fmt::format("{:02x}", fmt::join(digest, ""));
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

/// The content of a file, decompressed if it is gzipped. Whatever is wrong with it ends in bad().
class Content {
 public:
  /// `advice`, what to do about a bad file, ends every message.
  Content(std::string file, std::string advice)
      : file_(std::move(file)), advice_(std::move(advice)), gz_(gzopen(file_.c_str(), "rb"), &gzclose) {
    if (gz_ == nullptr) bad("cannot be opened: {}", std::strerror(errno));
  }

  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> what, Args&&... args) const {
    fail<DataError>("{} {}; {}", file_, fmt::format(what, std::forward<Args>(args)...), advice_);
  }

  /// Reads up to n bytes; fewer only at the end.
  std::int64_t read(void* bytes, std::int64_t n) {
    constexpr std::int64_t kMost = 1 << 30;  // zlib counts in int
    auto* to = static_cast<unsigned char*>(bytes);
    std::int64_t done = 0;
    while (done < n) {
      const int got = gzread(gz_.get(), to + done, static_cast<unsigned>(std::min(n - done, kMost)));
      check();
      if (got <= 0) break;
      done += got;
    }
    sha256_.update(bytes, static_cast<std::size_t>(done));
    return done;
  }

  /// The most bytes that the content can have: deflate shrinks at most 1032 times.
  std::int64_t most_bytes() const {
    std::error_code error;
    const auto size = static_cast<std::int64_t>(std::filesystem::file_size(file_, error));
    if (error) bad("cannot be measured: {}", error.message());
    return gzdirect(gz_.get()) != 0 ? size : size * 1032;
  }

  std::string sha256() { return sha256_.hex(); }

 private:
  /// zlib reports a gzip stream that stops early only here.
  void check() const {
    int code = Z_OK;
    const char* message = gzerror(gz_.get(), &code);
    if (code == Z_ERRNO) bad("cannot be read: {}", std::strerror(errno));
    if (code == Z_BUF_ERROR) bad("is cut short: its gzip stream has no end");
    if (code != Z_OK) bad("is damaged: {}", message);
  }

  std::string file_, advice_;
  std::unique_ptr<gzFile_s, decltype(&gzclose)> gz_;
  Sha256 sha256_;
};

/// Reads an IDX header and checks it against the length of the content.
Shape read_header(Content& content, int rank) {
  std::array<unsigned char, 4 + 4 * kMaxRank> header{};
  const std::int64_t bytes = 4 + 4 * rank;
  if (content.read(header.data(), bytes) < bytes) content.bad("ends inside its header of {} bytes", bytes);
  if (header[0] != 0 || header[1] != 0 || header[2] != 8) {
    content.bad("is not an IDX file of unsigned bytes: it starts with {:02x}, not 00 00 08",
                fmt::join(header.begin(), header.begin() + 3, " "));
  }
  if (header[3] != rank) content.bad("has rank {}, not {}", header[3], rank);
  const std::int64_t most = content.most_bytes() - bytes;
  Shape shape;
  std::int64_t numel = 1;  // counting sizes of 0 as 1, so that strides cannot overflow either
  bool fits = true, none = false;
  for (int axis = 0; axis < rank; ++axis) {
    std::int64_t size = 0;
    for (int i = 0; i < 4; ++i) size = size << 8 | header[4 + 4 * axis + i];
    shape.push_back(size);
    none = none || size == 0;
    fits = fits && !__builtin_mul_overflow(numel, std::max<std::int64_t>(size, 1), &numel);
  }
  if (!fits || (!none && numel > most)) content.bad("is too short for {} elements", fmt::join(shape, " x "));
  return shape;
}

Tensor read_content(Content& content, int rank) {
  const Shape shape = read_header(content, rank);
  Tensor y = empty(shape, {DType::u8});
  const std::int64_t got = content.read(y.mutable_data<std::uint8_t>(), y.numel());
  if (got < y.numel()) content.bad("ends after {} of its {} elements", got, y.numel());
  unsigned char surplus = 0;
  if (content.read(&surplus, 1) != 0) content.bad("goes on after its {} elements", y.numel());
  return y;
}

// --- MNIST and Fashion-MNIST -------------------------------------------------------------------------------

struct File {
  const char* name;
  int rank;
};
/// What both consist of.
constexpr File kTrainImages = {"train-images-idx3-ubyte", 3}, kTrainLabels = {"train-labels-idx1-ubyte", 1},
               kTestImages = {"t10k-images-idx3-ubyte", 3}, kTestLabels = {"t10k-labels-idx1-ubyte", 1};

struct Source {
  const char *title, *name;                                   // as people call it, and as programs do
  double mean, std;                                           // of the training pixels / 255
  std::array<std::pair<const char*, const char*>, 4> sha256;  // of each file's decompressed content

  const char* sha256_of(const File& file) const {
    return std::find_if(sha256.begin(), sha256.end(), [&](const auto& s) { return s.first == file.name; })
        ->second;
  }
};
constexpr Source kMnist = {
    "MNIST",
    "mnist",
    0.1307,
    0.3081,
    {{{kTrainImages.name, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"},
      {kTrainLabels.name, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"},
      {kTestImages.name, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"},
      {kTestLabels.name, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"}}}};
constexpr Source kFashionMnist = {
    "Fashion-MNIST",
    "fashion",
    0.2860,
    0.3530,
    {{{kTrainImages.name, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"},
      {kTrainLabels.name, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"},
      {kTestImages.name, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"},
      {kTestLabels.name, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"}}}};

/// The one that the content of a file belongs to, or null.
const Source* source_with(const File& file, std::string_view sha256) {
  for (const Source* source : {&kMnist, &kFashionMnist}) {
    if (sha256 == source->sha256_of(file)) return source;
  }
  return nullptr;
}

Tensor read_file(const std::filesystem::path& dir, const File& file, const Source& source) {
  const std::string advice = fmt::format("get it with scripts/get_data.sh {} {}", source.name, dir.string());
  for (const auto& folder : {dir, dir / "MNIST" / "raw"}) {
    for (const char* suffix : {".gz", ""}) {
      const std::filesystem::path path = folder / (std::string(file.name) + suffix);
      if (!std::filesystem::exists(path)) continue;
      Content content(path.string(), advice);
      Tensor y = read_content(content, file.rank);
      const std::string sha256 = content.sha256();
      const Source* is = source_with(file, sha256);
      if (is == nullptr)
        content.bad("is not {}'s: its SHA-256 is {}, not {}", source.title, sha256, source.sha256_of(file));
      if (is != &source) {
        fail<DataError>("{} is {}'s, not {}'s: name another --data, or --dataset {}", path.string(),
                        is->title, source.title, is->name);
      }
      return y;
    }
  }
  fail<DataError>("{} is not in {}, plain or .gz; {}", file.name, dir.string(), advice);
}

Dataset read_source(const std::filesystem::path& dir, Split split, const Source& source) {
  const bool train = split == Split::train;
  return {read_file(dir, train ? kTrainImages : kTestImages, source),
          read_file(dir, train ? kTrainLabels : kTestLabels, source), source.mean, source.std};
}

}  // namespace

Tensor read_idx(const std::filesystem::path& file, int rank) {
  EK_CHECK(0 <= rank && rank <= kMaxRank, "read_idx: rank {} given, 0 to {} are possible", rank, kMaxRank);
  Content content(file.string(), "give an undamaged IDX file");
  return read_content(content, rank);
}

Dataset mnist(const std::filesystem::path& dir, Split split) { return read_source(dir, split, kMnist); }

Dataset fashion_mnist(const std::filesystem::path& dir, Split split) {
  return read_source(dir, split, kFashionMnist);
}

// --- data sets and batches ---------------------------------------------------------------------------------

Dataset::Dataset(Tensor images, const Tensor& labels, double mean, double std, std::int64_t classes)
    : images_(std::move(images)), labels_(labels.to(DType::i64)), mean_(mean), std_(std) {
  EK_CHECK(images_.dtype() == DType::u8 && images_.rank() == 3,
           "Dataset: images are u8 [count, H, W], not {} {}", name_of(images_.dtype()),
           images_.shape().str());
  EK_CHECK(labels_.shape() == Shape{images_.size(0)}, "Dataset: {} images need labels of shape [{}], not {}",
           images_.size(0), images_.size(0), labels_.shape().str());
  EK_CHECK(std_ > 0, "Dataset: a standard deviation of {} was given, it must be positive", std_);
  std::int64_t image = 0;
  for (const std::int64_t label : labels_.to_vector<std::int64_t>()) {
    if (label < 0 || label >= classes) {
      fail<DataError>("Dataset: the label of image {} is {}, not one of the {} classes", image, label,
                      classes);
    }
    ++image;
  }
}

Dataset Dataset::to(Device device) const {
  Dataset copy = *this;
  copy.images_ = images_.to(device);
  copy.labels_ = labels_.to(device);
  return copy;
}

Batches::Batches(const Dataset& dataset, BatchOptions options)
    : options_(options),
      source_{dataset.images().to(options.device).contiguous(),
              dataset.labels().to(options.device).contiguous(),
              {},
              dataset.mean(),
              dataset.std()} {
  EK_CHECK(options.size >= 1, "Batches: {} images a batch were asked for, at least 1 is needed",
           options.size);
  EK_CHECK(options.rotate >= 0 && std::isfinite(options.rotate),
           "Batches: a rotation of {} degrees was asked for, 0 or more are possible", options.rotate);
  const std::int64_t n = dataset.size();
  order_ = options.shuffle ? empty({n}, {DType::i64, options.device}) : arange(0, n).to(options.device);
  if (options.rotate > 0) source_.angles = empty({n}, {DType::f32, options.device});
  begin_epoch(options.epoch);
}

void Batches::begin_epoch(std::uint64_t epoch) {
  const Device device = options_.device;
  const std::int64_t n = order_.size(0);
  if (options_.shuffle) order_.copy_(permutation(n, {options_.seed, RandomPurpose::shuffle, epoch}, device));
  if (!source_.angles.defined()) return;
  const double most = options_.rotate * std::numbers::pi / 180;
  const RandomKey key{options_.seed, RandomPurpose::rotate, epoch};
  source_.angles.copy_(uniform({n}, -most, most, key, {DType::f32, device}));
}

std::int64_t Batches::count() const { return (order_.size(0) + options_.size - 1) / options_.size; }

Batch Batches::get(std::int64_t i) const {
  EK_CHECK(0 <= i && i < count(), "Batches: batch {} was asked for, there are {}", i, count());
  const std::int64_t start = i * options_.size, end = std::min(start + options_.size, order_.size(0));
  const auto [images, labels] =
      take_batch(source_, order_.slice(0, start, end), {}, end - start, options_.format);
  return {images, labels};
}

Batch Batches::get_from(const Tensor& first) const {
  const auto [images, labels] = take_batch(source_, order_, first, options_.size, options_.format);
  return {images, labels};
}

}  // namespace evenkeel::data
