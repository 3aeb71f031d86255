#include "evenkeel/nn/data.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string>
#include <string_view>

#include "evenkeel/core/files.h"
#include "evenkeel/nn/idx.h"

namespace evenkeel::data {
namespace {

// --- MNIST and Fashion-MNIST -------------------------------------------------------------------------------

struct File {
  const char* name;
  int rank;
};
/// The files of both data sets.
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

/// The values of `file` at `path`, if it is that of `source`. Throws Malformed.
Tensor read_checked(const std::filesystem::path& path, const File& file, const Source& source) {
  const IdxFile idx = read_idx_file(path, file.rank);
  const Source* is = source_with(file, idx.sha256);
  if (is == nullptr) {
    fail<Malformed>("is not {}'s: its SHA-256 is {}, not {}", source.title, idx.sha256,
                    source.sha256_of(file));
  }
  if (is != &source) {
    fail<DataError>("{} is {}'s, not {}'s: name another --data, or --dataset {}", path.string(), is->title,
                    source.title, is->name);
  }
  return idx.values;
}

/// The first file at the places where `file` may be, as scripts/get_data.sh looks for it. Without one, the
/// first thing there that is no file or cannot be looked at: opening it says why. Empty if there is nothing.
std::filesystem::path find_file(const std::filesystem::path& dir, const File& file) {
  namespace fs = std::filesystem;
  fs::path other;
  for (const auto& folder : {dir, dir / "MNIST" / "raw"}) {
    for (const char* suffix : {".gz", ""}) {
      const fs::path path = folder / (std::string(file.name) + suffix);
      std::error_code error;
      const fs::file_type type = fs::status(path, error).type();
      if (type == fs::file_type::regular) return path;
      if (type != fs::file_type::not_found && other.empty()) other = path;
    }
  }
  return other;
}

Tensor read_file(const std::filesystem::path& dir, const File& file, const Source& source) {
  const std::string advice = fmt::format("get it with scripts/get_data.sh {} {}", source.name, dir.string());
  const std::filesystem::path path = find_file(dir, file);
  if (path.empty()) fail<DataError>("{} is not in {}, plain or .gz; {}", file.name, dir.string(), advice);
  return reading(path, advice, [&] { return read_checked(path, file, source); });
}

Dataset read_source(const std::filesystem::path& dir, Split split, const Source& source) {
  const bool train = split == Split::train;
  return {read_file(dir, train ? kTrainImages : kTestImages, source),
          read_file(dir, train ? kTrainLabels : kTestLabels, source), source.mean, source.std};
}

}  // namespace

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

Dataset Dataset::first(std::int64_t count) const {
  EK_CHECK(0 <= count && count <= size(), "Dataset: the first {} images were asked for, there are {}", count,
           size());
  Dataset copy = *this;
  copy.images_ = images_.slice(0, 0, count);
  copy.labels_ = labels_.slice(0, 0, count);
  return copy;
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
  options_.size =
      std::min(options.size, std::max<std::int64_t>(n, 1));  // no batch has more; sums of sizes fit
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
  const auto [images, labels] = take_batch(source_, order_.slice(0, start, end), {}, end - start);
  return {images, labels};
}

Batch Batches::get_from(const Tensor& first) const {
  const auto [images, labels] = take_batch(source_, order_, first, options_.size);
  return {images, labels};
}

}  // namespace evenkeel::data
