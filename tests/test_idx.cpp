// IDX files, good and damaged, and MNIST's.
#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>

#include "compare.h"
#include "evenkeel/nn/data.h"
#include "files.h"

using namespace evenkeel;
using namespace evenkeel::test;
using data::Dataset;
using data::read_idx;

namespace {

/// An IDX file of unsigned bytes: the sizes as they are given, whatever the number of values.
std::string idx(const std::vector<std::uint32_t>& sizes, const std::string& values) {
  std::string bytes = {'\0', '\0', '\x08', static_cast<char>(sizes.size())};
  for (const std::uint32_t size : sizes) {
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(size >> shift & 0xff);
  }
  return bytes + values;
}

std::string gzip(const TempDir& dir, const std::string& bytes) {
  const std::filesystem::path file = dir / "gzip.gz";
  const gzFile gz = gzopen(file.c_str(), "wb");
  REQUIRE(gzwrite(gz, bytes.data(), static_cast<unsigned>(bytes.size())) == static_cast<int>(bytes.size()));
  REQUIRE(gzclose(gz) == Z_OK);
  return read_file(file);
}

/// Bytes that gzip cannot make much shorter.
std::string noise(std::size_t n) {
  std::mt19937 engine(1);
  std::string bytes(n, '\0');
  for (char& c : bytes) c = static_cast<char>(engine());
  return bytes;
}

/// read_idx must reject these bytes in one line that names the file, says what is wrong and what to do.
void check_rejected(const std::string& bytes, int rank, const std::string& complaint) {
  const TempDir dir;
  const std::filesystem::path file = dir / "broken";
  write_file(file, bytes);
  INFO("expecting: " << complaint);
  CHECK_THROWS_AS(read_idx(file, rank), DataError);
  const std::string message = error_of([&] { read_idx(file, rank); });
  CHECK(mentions(message, {file.string(), complaint, "give an undamaged IDX file"}));
  CHECK(message.find('\n') == std::string::npos);
}

}  // namespace

TEST_CASE("read_idx reads plain and gzipped files of any rank") {
  const TempDir dir;
  for (const bool zipped : {false, true}) {
    const auto read = [&](const std::string& bytes, int rank) {
      write_file(dir / "file", zipped ? gzip(dir, bytes) : bytes);
      return read_idx(dir / "file", rank);
    };
    CAPTURE(zipped);
    const Tensor images = read(idx({2, 2, 3}, "abcdefABCDE\xff"), 3);
    CHECK(images.shape() == Shape{2, 2, 3});
    CHECK(images.dtype() == DType::u8);
    CHECK(images.to_vector<std::int64_t>() ==
          std::vector<std::int64_t>{'a', 'b', 'c', 'd', 'e', 'f', 'A', 'B', 'C', 'D', 'E', 255});
    CHECK(read(idx({3}, "xyz"), 1).to_vector<std::int64_t>() == std::vector<std::int64_t>{'x', 'y', 'z'});
    CHECK(read(idx({}, "x"), 0).item() == 'x');
    CHECK(read(idx({0, 28, 28}, ""), 3).shape() == Shape{0, 28, 28});
    const std::string big = noise(3'000'000);  // more than zlib's buffers
    const Tensor y = read(idx({300, 100, 100}, big), 3);
    CHECK(std::equal(big.begin(), big.end(), y.data<std::uint8_t>(),
                     [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; }));
  }
}

TEST_CASE("read_idx rejects damaged files") {
  const std::string good = idx({2, 2, 3}, "abcdefABCDEF");
  check_rejected("", 3, "ends inside its header of 16 bytes");
  check_rejected(good.substr(0, 3), 3, "ends inside its header");
  check_rejected(good.substr(0, 15), 3, "ends inside its header");
  check_rejected(good.substr(0, 27), 3, "is too short for 2 x 2 x 3 elements");
  check_rejected(good + '\0', 3, "goes on after its 12 elements");
  check_rejected(good, 1, "has rank 3, not 1");
  check_rejected(idx({4}, "abcdefghijklmnop"), 3, "has rank 1, not 3");
  for (const int i : {0, 1, 2}) {
    std::string wrong_magic = good;
    wrong_magic[i] = '\x0d';
    check_rejected(wrong_magic, 3, "is not an IDX file of unsigned bytes: it starts with");
  }
  check_rejected("<html>not found</html>", 3, "it starts with 3c 68 74, not 00 00 08");
}

TEST_CASE("read_idx rejects sizes that the file cannot hold, before it allocates") {
  const std::int64_t peak = memory_stats().bytes_peak;
  check_rejected(idx({0xffffffff, 1, 1}, "abc"), 3, "is too short for 4294967295 x 1 x 1 elements");
  check_rejected(idx({0x7fffffff, 0x7fffffff, 2}, "abc"), 3, "is too short");  // fits 63 bits
  check_rejected(idx({0xffffffff, 0xffffffff, 1}, "abc"), 3, "is too short");  // does not fit 63 bits
  check_rejected(idx({0x80000000, 0x80000000, 4}, "abc"), 3, "is too short");  // 2^64: wraps to 0
  check_rejected(idx({0, 0xffffffff, 0xffffffff}, ""), 3, "is too short");     // strides overflow
  check_rejected(idx({0xffffffff, 0xffffffff, 0}, ""), 3, "is too short");
  check_rejected(idx({2147483650U, 1073741824, 0}, ""), 3, "is too short");  // as i64 its strides overflow
  const TempDir dir;
  check_rejected(gzip(dir, idx({0xffffffff}, "abc")), 1, "is too short for 4294967295 elements");
  check_rejected(gzip(dir, idx({40}, "abc")), 1, "ends after 3 of its 40 elements");
  CHECK(memory_stats().bytes_peak - peak < 1'000'000);
}

TEST_CASE("read_idx rejects damaged gzip files") {
  const TempDir dir;
  const std::string good = gzip(dir, idx({1000}, noise(1000)));
  for (const std::size_t n :
       {10, 30, 500, static_cast<int>(good.size()) - 8, static_cast<int>(good.size()) - 1}) {
    CAPTURE(n);
    check_rejected(good.substr(0, n), 1, "is cut short: its gzip stream has no end");
  }
  std::string wrong_checksum = good;
  wrong_checksum[good.size() - 8] ^= 1;
  check_rejected(wrong_checksum, 1, "is damaged");
  std::string flipped = good;
  flipped[500] ^= 0x55;
  check_rejected(flipped, 1, "is damaged");
  check_rejected(gzip(dir, ""), 1, "ends inside its header of 8 bytes");
  check_rejected(gzip(dir, idx({3}, "abcd")), 1, "goes on after its 3 elements");
  check_rejected(gzip(dir, idx({3}, "abc")) + "rest", 1, "goes on after its gzip stream");
  check_rejected(gzip(dir, idx({3}, "abc")) + "\x1f\x8brest", 1, "is damaged");
  check_rejected(gzip(dir, idx({3}, "abc")) + gzip(dir, "d"), 1, "goes on after its 3 elements");
}

TEST_CASE("read_idx reads all members of a gzip file, and takes zeros after them for padding") {
  const TempDir dir;
  const std::string whole = idx({3}, "abc");
  const std::string members = gzip(dir, whole.substr(0, 9)) + gzip(dir, "") + gzip(dir, whole.substr(9));
  for (const std::string& padding : {std::string(), std::string(1000, '\0')}) {
    write_file(dir / "file", members + padding);
    CHECK(read_idx(dir / "file", 1).to_vector<std::int64_t>() == std::vector<std::int64_t>{'a', 'b', 'c'});
  }
}

TEST_CASE("read_idx takes only what its header asks for out of a file that never ends") {
  const TempDir dir;
  write_file(dir / "zeros", idx({3}, "abc"));
  std::filesystem::resize_file(dir / "zeros", std::uintmax_t{20} << 30);
  CHECK(mentions(error_of([&] { read_idx(dir / "zeros", 1); }), {"goes on after its 3 elements"}));
  const std::string bomb = gzip(dir, idx({3}, "abc" + std::string(30'000'000, '\0')));
  const std::int64_t peak = memory_stats().bytes_peak;
  check_rejected(bomb, 1, "goes on after its 3 elements");
  CHECK(memory_stats().bytes_peak - peak < 1'000'000);
}

TEST_CASE("read_idx refuses a pipe, which might never end, without opening it for good") {
  const TempDir dir;
  REQUIRE(mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_AS(read_idx(dir / "pipe", 1), DataError);
  CHECK(
      mentions(error_of([&] { read_idx(dir / "pipe", 1); }), {"cannot be opened: it is a pipe, not a file"}));
  CHECK(mentions(error_of([&] { read_idx("/dev/zero", 1); }), {"it is a device, not a file"}));
}

TEST_CASE("read_idx says why a file cannot be opened") {
  const TempDir dir;
  CHECK_THROWS_AS(read_idx(dir / "none", 1), DataError);
  CHECK(mentions(error_of([&] { read_idx(dir / "none", 1); }), {(dir / "none").string(), "No such file"}));
  CHECK(mentions(error_of([&] { read_idx(dir.path(), 1); }), {dir.path().string(), "directory"}));
  CHECK(mentions(error_of([&] { read_idx(dir / "none", 9); }), {"rank 9", "0 to 8"}));
}

TEST_CASE("mnist takes only MNIST's files and says how to get them") {
  const TempDir dir;
  const auto complaint = [&] { return error_of([&] { data::mnist(dir.path(), data::Split::test); }); };
  CHECK_THROWS_AS(data::mnist(dir.path(), data::Split::test), DataError);
  const std::string advice = "get it with scripts/get_data.sh mnist " + dir.path().string();
  CHECK(mentions(complaint(), {"t10k-images-idx3-ubyte is not in", dir.path().string(), advice}));

  // Files with the right form and the wrong content, at each place where they are looked for, first choice
  // last.
  std::filesystem::create_directories(dir / "MNIST/raw");
  const std::string bytes = idx({1, 28, 28}, noise(28 * 28));
  for (const char* place : {"MNIST/raw/t10k-images-idx3-ubyte", "MNIST/raw/t10k-images-idx3-ubyte.gz",
                            "t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz"}) {
    write_file(dir / place, std::string(place).ends_with(".gz") ? gzip(dir, bytes) : bytes);
    CHECK(mentions(complaint(), {(dir / place).string() + " is not MNIST's: its SHA-256 is", advice}));
  }
  write_file(dir / "t10k-images-idx3-ubyte.gz", "<html>not found</html>");
  CHECK(mentions(complaint(), {"is not an IDX file", advice}));

  // What is no file is passed over as long as there is one.
  std::filesystem::remove(dir / "t10k-images-idx3-ubyte.gz");
  std::filesystem::create_directory(dir / "t10k-images-idx3-ubyte.gz");
  CHECK(mentions(complaint(), {(dir / "t10k-images-idx3-ubyte").string() + " is not MNIST's"}));
  std::filesystem::remove(dir / "t10k-images-idx3-ubyte");
  std::filesystem::create_symlink("t10k-images-idx3-ubyte", dir / "t10k-images-idx3-ubyte");
  CHECK(mentions(complaint(), {(dir / "MNIST/raw/t10k-images-idx3-ubyte.gz").string() + " is not MNIST's"}));
  std::filesystem::remove_all(dir / "MNIST");
  CHECK(mentions(complaint(), {(dir / "t10k-images-idx3-ubyte.gz").string(), "directory, not a file"}));
  CHECK(mentions(error_of([&] { data::mnist(dir.path(), data::Split::train); }),
                 {"train-images-idx3-ubyte is not in"}));
}

namespace {

/// The constants that normalise pixels are the mean and standard deviation of the training pixels.
void check_constants(const Dataset& train) {
  double sum = 0, squares = 0;
  for (const std::uint8_t pixel : train.images().to_vector<std::uint8_t>()) {
    sum += pixel / 255.0;
    squares += pixel / 255.0 * (pixel / 255.0);
  }
  const double n = static_cast<double>(train.images().numel()), mean = sum / n;
  CHECK(std::abs(train.mean() - mean) < 5e-5);
  CHECK(std::abs(train.std() - std::sqrt(squares / n - mean * mean)) < 5e-5);
}

std::vector<std::int64_t> first_labels(const Dataset& d) {
  const std::vector<std::int64_t> labels = d.labels().to_vector<std::int64_t>();
  return {labels.begin(), labels.begin() + 10};
}

}  // namespace

TEST_CASE("mnist reads the real files") {
  const char* place = std::getenv("EVENKEEL_DATA");
  const std::filesystem::path dir = place != nullptr
                                        ? std::filesystem::path(place)
                                        : std::filesystem::path(EK_TEST_DIR) / ".." / "data" / "mnist";
  if (place == nullptr && !std::filesystem::exists(dir)) {
    WARN("MNIST is not here: run scripts/get_data.sh mnist data/mnist or set EVENKEEL_DATA");
    return;
  }
  const Dataset train = data::mnist(dir, data::Split::train), test = data::mnist(dir, data::Split::test);
  CHECK(train.images().shape() == Shape{60000, 28, 28});
  CHECK(test.images().shape() == Shape{10000, 28, 28});
  CHECK(first_labels(train) == std::vector<std::int64_t>{5, 0, 4, 1, 9, 2, 1, 3, 1, 4});
  const std::vector<std::int64_t> labels = train.labels().to_vector<std::int64_t>();
  CHECK(std::count(labels.begin(), labels.end(), 0) == 5923);
  check_constants(train);
  CHECK(mentions(error_of([&] { data::fashion_mnist(dir, data::Split::test); }),
                 {"is MNIST's, not Fashion-MNIST's", "--dataset mnist"}));
}

TEST_CASE("fashion_mnist reads the real files") {
  const std::filesystem::path dir = "/usr/share/datasets/fashion-mnist";  // Debian's dataset-fashion-mnist
  if (!std::filesystem::exists(dir)) {
    WARN("Fashion-MNIST is not here: install dataset-fashion-mnist");
    return;
  }
  const Dataset train = data::fashion_mnist(dir, data::Split::train),
                test = data::fashion_mnist(dir, data::Split::test);
  CHECK(train.images().shape() == Shape{60000, 28, 28});
  CHECK(test.images().shape() == Shape{10000, 28, 28});
  CHECK(first_labels(train) == std::vector<std::int64_t>{9, 0, 0, 3, 0, 2, 7, 2, 5, 5});
  const std::vector<std::int64_t> labels = train.labels().to_vector<std::int64_t>();
  for (std::int64_t label = 0; label < 10; ++label)
    CHECK(std::count(labels.begin(), labels.end(), label) == 6000);
  check_constants(train);
  CHECK(mentions(error_of([&] { data::mnist(dir, data::Split::test); }),
                 {"is Fashion-MNIST's, not MNIST's", "--dataset fashion"}));
}
