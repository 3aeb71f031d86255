// MNIST and Fashion-MNIST: reading, checking, shuffling, augmenting.
#pragma once

#include <cstdint>
#include <filesystem>
#include <utility>
#include <vector>

#include "evenkeel/core/random.h"
#include "evenkeel/core/tensor.h"
#include "evenkeel/nn/functional.h"

namespace evenkeel::data {

/// Reads an IDX file of unsigned bytes, plain or gzipped, to a u8 tensor. Throws DataError, naming the file,
/// when it is missing, damaged, or has another rank, a wrong magic number, or a length that does not fit its
/// sizes.
Tensor read_idx(const std::filesystem::path& file, int rank);

enum class Split { train, test };

struct BatchOptions {
  std::int64_t size = 64;  ///< images a batch; the last one may be smaller
  bool shuffle = true;     ///< a new order for each (seed, epoch)
  std::uint64_t seed = 1;
  std::uint64_t epoch = 1;
  double rotate = 0;  ///< each image is rotated by U(-rotate, rotate) degrees
  Device device = Device::cpu();
};

struct Batch {
  Tensor images;  ///< f32 [n, 1, H, W], normalised
  Tensor labels;  ///< i64 [n]
};

class Dataset;

/// A range of batches, made one at a time on their device, where everything that they need lies, order and
/// angles included.
class Batches {
 public:
  class Iterator {
   public:
    Iterator(const Batches* batches, std::int64_t i) : batches_(batches), i_(i) {}
    Batch operator*() const { return batches_->get(i_); }
    Iterator& operator++() {
      ++i_;
      return *this;
    }
    friend bool operator==(const Iterator&, const Iterator&) = default;

   private:
    const Batches* batches_;
    std::int64_t i_;
  };

  Batches(const Dataset& dataset, BatchOptions options);
  std::int64_t count() const;  ///< number of batches
  Batch get(std::int64_t i) const;
  /// A batch of options.size images from number *first of the epoch's order on, which an i64 on their device
  /// says: for CUDA graphs, which read it, and order and angles of the epoch, at each launch.
  Batch get_from(const Tensor& first) const;
  /// Goes on to another epoch, in the same memory.
  void begin_epoch(std::uint64_t epoch);
  const BatchOptions& options() const { return options_; }
  const ImageSource& source() const { return source_; }
  const Tensor& order() const { return order_; }  ///< i64 [count]: the images in the order of the epoch
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, count()}; }

 private:
  BatchOptions options_;
  ImageSource source_;
  Tensor order_;
};

/// Images that are u8 [count, H, W], labels i64 [count], and the constants that normalise pixels.
class Dataset {
 public:
  /// Throws Error unless there are as many labels as images, and DataError if a label is not below `classes`.
  Dataset(Tensor images, const Tensor& labels, double mean, double std, std::int64_t classes = 10);
  std::int64_t size() const { return images_.size(0); }
  const Tensor& images() const { return images_; }
  const Tensor& labels() const { return labels_; }
  double mean() const { return mean_; }
  double std() const { return std_; }
  Batches batches(BatchOptions options) const { return {*this, options}; }
  /// The first `count` images; Error if there are fewer.
  Dataset first(std::int64_t count) const;
  /// The same data set on a device: batches there then copy nothing.
  Dataset to(Device device) const;

 private:
  Tensor images_, labels_;
  double mean_, std_;
};

/// Reads MNIST from DIR or DIR/MNIST/raw (torchvision's place), plain or .gz. Throws DataError if a file is
/// missing or if the SHA-256 of its decompressed content is not MNIST's.
Dataset mnist(const std::filesystem::path& dir, Split split);
/// Reads Fashion-MNIST in the same way; its files have the same names and sizes.
Dataset fashion_mnist(const std::filesystem::path& dir, Split split);

}  // namespace evenkeel::data
