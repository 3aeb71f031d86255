// Safetensors files: what is saved is loaded, and the bytes are those of the format.
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

#include "compare.h"
#include "evenkeel/nn/layers.h"
#include "evenkeel/nn/safetensors.h"
#include "safetensors_bytes.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

const Tensor& named(const NamedTensors& tensors, const std::string& name) {
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.first == name; });
  REQUIRE(found != tensors.end());
  return found->second;
}

/// One tensor of each dtype, one without axes, one without elements.
NamedTensors samples() {
  Random random;
  return {{"u8", from_vector(std::vector<std::uint8_t>{1, 2, 255}, {3})},
          {"f32", random.normal({2, 3, 5}, {DType::f32})},
          {"count", from_vector(std::vector<std::int64_t>{-7}, {})},
          {"f64", random.normal({4, 1}, {DType::f64})},
          {"bf16", random.normal({3, 3}, {DType::bf16})},
          {"f16", random.normal({5}, {DType::f16})},
          {"nothing", zeros({0, 3})},
          {"näme \"quoted\"\n", ones({1})}};
}

}  // namespace

TEST_CASE("what is saved is loaded, bit for bit") {
  const TempDir dir;
  const NamedTensors saved = samples();
  save_safetensors(dir / "file", saved, {{"format", "pt"}});
  std::map<std::string, std::string> metadata;
  const NamedTensors loaded = load_safetensors(dir / "file", metadata);
  CHECK(metadata == std::map<std::string, std::string>{{"format", "pt"}});
  REQUIRE(loaded.size() == saved.size());
  for (const auto& [name, tensor] : saved) {
    CAPTURE(name);
    CHECK(same_bits(named(loaded, name), tensor));
  }
}

TEST_CASE("an empty state is a file too") {
  const TempDir dir;
  save_safetensors(dir / "file", {});
  std::map<std::string, std::string> metadata = {{"of", "another file"}};
  CHECK(load_safetensors(dir / "file", metadata).empty());
  CHECK(metadata.empty());
  CHECK(read_file(dir / "file") == safetensors("{}      ", ""));
  CHECK(load_bytes(safetensors("{}", "")).empty());
  CHECK(load_bytes(safetensors(R"({"__metadata__":{"a":"b"}})", "")).empty());
}

TEST_CASE("the bytes of a file are those of the format") {
  const TempDir dir;
  save_safetensors(dir / "file",
                   {{"b", from_vector(std::vector<std::uint8_t>{7}, {1})}, {"a", ones({2}).reshape({2, 1})}},
                   {{"epoch", "3"}});
  std::string header =
      R"({"__metadata__":{"epoch":"3"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  CHECK(read_file(dir / "file") == safetensors(header, std::string("\0\0\x80\x3f\0\0\x80\x3f\x07", 9)));
}

TEST_CASE("16-bit tensors have PyTorch's names and bits") {
  const TempDir dir;
  save_safetensors(dir / "file",
                   {{"b", tensor({1, -2}).to(DType::bf16)}, {"h", tensor({1, -2}).to(DType::f16)}});
  std::string header = R"({"b":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},)"
                       R"("h":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::string file = safetensors(header, std::string("\x80\x3f\0\xc0\0\x3c\0\xc0", 8));
  CHECK(read_file(dir / "file") == file);
  const NamedTensors loaded = load_bytes(file);
  CHECK(same_bits(named(loaded, "b"), tensor({1, -2}).to(DType::bf16)));
  CHECK(same_bits(named(loaded, "h"), tensor({1, -2}).to(DType::f16)));
  Tensor master = zeros({2});
  master.copy_(named(loaded, "b"));  // as load_state_dict does
  CHECK(same_bits(master, tensor({1, -2})));
}

TEST_CASE("data begin at a multiple of 8, and every tensor at a multiple of its element") {
  const TempDir dir;
  save_safetensors(dir / "file", samples());
  const std::string bytes = read_file(dir / "file");
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  CHECK(header_bytes % 8 == 0);
  const auto header = nlohmann::json::parse(bytes.substr(8, header_bytes));
  for (const auto& [name, tensor] : samples()) {
    CHECK(header.at(name).at("data_offsets").at(0).get<std::int64_t>() % size_of(tensor.dtype()) == 0);
  }
}

TEST_CASE("the same tensors give the same bytes, and a second save replaces the first") {
  const TempDir dir;
  save_safetensors(dir / "one", samples(), {{"b", "2"}, {"a", "1"}});
  save_safetensors(dir / "two", {});
  save_safetensors(dir / "two", samples(), {{"a", "1"}, {"b", "2"}});
  CHECK(read_file(dir / "one") == read_file(dir / "two"));
  CHECK(dir.count() == 2);  // and nothing beside them
}

TEST_CASE("views, results and parameters are saved by their values, from any device") {
  const TempDir dir;
  for (const Device device : devices()) {
    const Tensor x = arange(0, 24, {DType::f32}).reshape({2, 3, 4}).to(device);
    const Tensor parameter = leaf(x);
    save_safetensors(dir / "file", {{"transposed", x.transpose(0, 2)},
                                    {"gaps", x.slice(2, 1, 4, 2)},
                                    {"repeated", x.slice(0, 0, 1).broadcast_to({3, 3, 4})},
                                    {"parameter", parameter},
                                    {"result", parameter * 2}});
    const NamedTensors loaded = load_safetensors(dir / "file");
    CHECK(same_bits(named(loaded, "transposed"), x.transpose(0, 2).to(Device::cpu())));
    CHECK(same_bits(named(loaded, "gaps"), x.slice(2, 1, 4, 2).to(Device::cpu())));
    CHECK(same_bits(named(loaded, "repeated"), x.slice(0, 0, 1).broadcast_to({3, 3, 4}).to(Device::cpu())));
    CHECK(same_bits(named(loaded, "parameter"), x.to(Device::cpu())));
    CHECK(same_bits(named(loaded, "result"), (x * 2).to(Device::cpu())));
    CHECK_FALSE(named(loaded, "parameter").requires_grad());
  }
}

TEST_CASE("a network's state goes through a file") {
  const TempDir dir;
  const auto make = [](std::uint64_t seed) {
    manual_seed(seed);
    return nn::Sequential{nn::Conv2d(1, 4, 3), nn::BatchNorm2d(4), nn::ReLU()};
  };
  nn::Sequential saved = make(1), loaded = make(2);
  Random random;
  const Tensor x = random.normal({2, 1, 6, 6}, {});
  saved(x);  // moves the running statistics
  save_safetensors(dir / "file", saved.state_dict());
  loaded.load_state_dict(load_safetensors(dir / "file"));
  saved.eval();
  loaded.eval();
  CHECK(same_bits(saved(x), loaded(x)));
}

TEST_CASE("tensors are loaded in the order of their offsets") {
  const std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},)"
                             R"("b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                             R"("c":{"dtype":"F32","shape":[0],"data_offsets":[2,2]}})";
  const NamedTensors loaded = load_bytes(safetensors(header, "xyz"));
  REQUIRE(loaded.size() == 3);
  CHECK(loaded[0].first == "b");
  CHECK(loaded[0].second.to_vector<std::int64_t>() == std::vector<std::int64_t>{'x', 'y'});
  CHECK(loaded[1].first == "c");
  CHECK(loaded[2].first == "a");
}

TEST_CASE("a file that cannot be written leaves nothing behind, and an old one as it was") {
  const TempDir dir;
  CHECK_THROWS_AS(save_safetensors(dir / "none" / "file", samples()), Error);
  CHECK(mentions(error_of([&] { save_safetensors(dir / "none" / "file", samples()); }),
                 {"cannot write " + (dir / "none" / "file").string(), "No such file"}));
  CHECK(dir.count() == 0);
  std::filesystem::create_directories(dir / "taken" / "by a folder");
  CHECK(
      mentions(error_of([&] { save_safetensors(dir / "taken", samples()); }), {"cannot write", "directory"}));
  CHECK(dir.count() == 1);
  save_safetensors(dir / "file", samples());
  const std::string before = read_file(dir / "file");
  CHECK(mentions(error_of([&] {
                   save_safetensors(dir / "file", {{"x", ones({1})}, {"x", ones({1})}});
                 }),
                 {"two tensors are named \"x\""}));
  CHECK(mentions(error_of([&] { save_safetensors(dir / "file", {{"\xff", ones({1})}}); }), {"UTF-8"}));
  CHECK(mentions(error_of([&] { save_safetensors(dir / "file", {}, {{"a", "\xff"}}); }), {"UTF-8"}));
  CHECK(mentions(error_of([&] {
                   save_safetensors(dir / "file", {{"__metadata__", ones({1})}});
                 }),
                 {"__metadata__"}));
  CHECK(mentions(error_of([&] {
                   save_safetensors(dir / "file", {{"x", Tensor()}});
                 }),
                 {"\"x\" is undefined"}));
  CHECK(read_file(dir / "file") == before);
  CHECK(dir.count() == 2);
}

TEST_CASE("a write that fails half-way leaves the old file as it was") {
  const TempDir dir;
  save_safetensors(dir / "file", samples());
  const std::string before = read_file(dir / "file");
  rlimit old_limit{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &old_limit) == 0);
  const rlimit limit{100'000, old_limit.rlim_max};
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);  // past the limit: an error, not a signal
  REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  std::string message;
  try {
    save_safetensors(dir / "file", {{"large", zeros({1'000'000})}});
  } catch (const Error& error) {
    message = error.what();
  }
  REQUIRE(setrlimit(RLIMIT_FSIZE, &old_limit) == 0);
  std::signal(SIGXFSZ, old_handler);
  CHECK(mentions(message, {"cannot write", "File too large"}));
  CHECK(read_file(dir / "file") == before);
  CHECK(dir.count() == 1);
}
