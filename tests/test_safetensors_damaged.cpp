// Safetensors files that are damaged or hostile: each is rejected with a message that says what is wrong.
#include <cstring>

#include "compare.h"
#include "evenkeel/nn/safetensors.h"
#include "safetensors_bytes.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

/// A file of one tensor, "w".
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets,
                std::size_t bytes) {
  return safetensors(
      R"({"w":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}",
      std::string(bytes, 'x'));
}

/// A file of two tensors of bytes, "a" and "b".
std::string two(const std::string& a, const std::string& b, std::size_t bytes) {
  return safetensors(R"({"a":{"dtype":"U8",)" + a + R"(},"b":{"dtype":"U8",)" + b + "}}",
                     std::string(bytes, 'x'));
}

/// load_safetensors must reject these bytes in one line that names the file, says what is wrong and what to
/// do.
void check_rejected(const std::string& bytes, const std::string& complaint) {
  const TempDir dir;
  const std::filesystem::path file = dir / "broken.safetensors";
  write_file(file, bytes);
  INFO("expecting: " << complaint);
  CHECK_THROWS_AS(load_safetensors(file), DataError);
  const std::string message = error_of([&] { load_safetensors(file); });
  CHECK(mentions(message, {file.string(), complaint, "give an undamaged safetensors file"}));
  CHECK(message.find('\n') == std::string::npos);
  CHECK(message.size() < 600);
}

}  // namespace

TEST_CASE("the file itself") {
  const TempDir dir;
  CHECK_THROWS_AS(load_safetensors(dir / "none"), DataError);
  CHECK(
      mentions(error_of([&] { load_safetensors(dir / "none"); }), {(dir / "none").string(), "No such file"}));
  CHECK(mentions(error_of([&] { load_safetensors(dir.path()); }), {dir.path().string(), "cannot be opened"}));
  check_rejected("", "has 0 bytes, too few for a header");
  check_rejected("1234567", "has 7 bytes");
  check_rejected("<!DOCTYPE html><html></html>", "has a header of");
}

TEST_CASE("a tensor that no memory holds") {
  std::ifstream overcommit("/proc/sys/vm/overcommit_memory");
  if (overcommit.get() == '1') return;  // the system promises any memory
  const TempDir dir;
  const std::filesystem::path file = dir / "huge.safetensors";
  const std::string bytes =
      safetensors(R"({"w":{"dtype":"U8","shape":[1099511627776],"data_offsets":[0,1099511627776]}})");
  write_file(file, bytes);
  std::error_code error;
  std::filesystem::resize_file(file, bytes.size() + (std::uintmax_t{1} << 40), error);
  if (error) return;  // a filesystem without such files
  CHECK_THROWS_AS(load_safetensors(file), DataError);
  CHECK(error_of([&] { load_safetensors(file); }) ==
        file.string() + " needs more memory than there is; give an undamaged safetensors file");
}

TEST_CASE("the length of the header") {
  check_rejected(length_prefix(3) + "{}", "is cut short: its header has 3 bytes, the file 10");
  check_rejected(length_prefix(0) + "{}", "not JSON");
  check_rejected(length_prefix(100'000'001) + "{}", "has a header of 100000001 bytes; 100 MB is the limit");
  check_rejected(length_prefix(100'000'000) + "{}", "is cut short");
  check_rejected(length_prefix(std::uint64_t{1} << 63) + "{}", "has a header of 9223372036854775808 bytes");
  check_rejected(length_prefix(~std::uint64_t{0}) + "{}", "has a header of 18446744073709551615 bytes");
}

TEST_CASE("a header that is not a JSON object") {
  for (const char* header : {"", " ", "{", "}", "{}}", "{\"w\"}", "{'w':1}", "{\"w\":1,}", "{}//", "nan",
                             "[1e999]", "{\"\xff\":1}", "{\"w\":\"\n\"}"}) {
    CAPTURE(header);
    check_rejected(safetensors(header), "not JSON");
  }
  check_rejected(safetensors(std::string("{}\0{\"w\":1}", 10)), "not JSON: it has a NUL");
  check_rejected(safetensors("[]"), "not a JSON object");
  check_rejected(safetensors("3"), "not a JSON object");
  check_rejected(safetensors("{\"w\":" + std::string(1'000'000, '[')), "nested deeper than 3");
  check_rejected(safetensors(R"({"w":{"shape":[[]]}})"), "nested deeper than 3");
}

TEST_CASE("a key that appears twice") {
  const std::string w = R"("w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  CHECK(load_bytes(safetensors("{" + w + "}", "x")).size() == 1);
  check_rejected(safetensors("{" + w + "," + w + "}", "x"), "the key \"w\" twice");
  check_rejected(safetensors(R"({"w":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"),
                 "the key \"dtype\" twice");
  check_rejected(safetensors(R"({"__metadata__":{"a":"1","a":"1"}})"), "the key \"a\" twice");
  check_rejected(safetensors(R"({"__metadata__":{},"__metadata__":{}})"), "the key \"__metadata__\" twice");
}

TEST_CASE("metadata that is not text") {
  for (const char* metadata : {"3", "[]", R"("a")", "null", R"({"a":3})", R"({"a":{}})"}) {
    CAPTURE(metadata);
    check_rejected(safetensors(R"({"__metadata__":)" + std::string(metadata) + "}"),
                   "does not map text to text");
  }
}

TEST_CASE("an entry that lacks a key") {
  check_rejected(safetensors(R"({"w":{"shape":[1],"data_offsets":[0,1]}})", "x"), "\"w\" without dtype");
  check_rejected(safetensors(R"({"w":{"dtype":"U8","data_offsets":[0,1]}})", "x"), "\"w\" without shape");
  check_rejected(safetensors(R"({"w":{"dtype":"U8","shape":[1]}})", "x"), "\"w\" without data_offsets");
  for (const char* entry : {"{}", "3", "[]", "null", R"("F32")"}) {
    check_rejected(safetensors(R"({"w":)" + std::string(entry) + "}"), "\"w\" without dtype");
  }
}

TEST_CASE("a dtype that cannot be read") {
  check_rejected(one(R"("I16")", "[1]", "[0,2]", 2),
                 "dtype \"I16\"; F32, F64, BF16, F16, I64 and U8 can be read");
  check_rejected(one(R"("f32")", "[1]", "[0,4]", 4), "dtype \"f32\"");
  check_rejected(one(R"("")", "[1]", "[0,4]", 4), "dtype \"\"");
  check_rejected(one("32", "[1]", "[0,4]", 4), "no text as dtype of tensor \"w\"");
}

TEST_CASE("a shape that is none") {
  for (const char* shape : {"3", "{}", "null", R"("3")", "[-1]", "[1.0]", "[1e0]", "[null]", R"(["1"])",
                            "[true]", "[18446744073709551616]"}) {
    CAPTURE(shape);
    check_rejected(one(R"("U8")", shape, "[0,1]", 1), "shape is not a list of sizes");
  }
  check_rejected(one(R"("U8")", "[1,1,1,1,1,1,1,1,1]", "[0,1]", 1), "9 axes; a tensor has at most 8");
}

TEST_CASE("a shape whose size overflows") {
  for (const char* shape :
       {"[18446744073709551615]", "[9223372036854775807]", "[4294967296,4294967296]",
        "[2305843009213693952,8]", "[4294967296,4294967296,0]", "[0,4294967296,4294967296]"}) {
    CAPTURE(shape);
    check_rejected(one(R"("F64")", shape, "[0,0]", 0), "too large");
  }
  check_rejected(one(R"("F64")", "[1152921504606846975]", "[0,8]", 8), "needs 9223372036854775800");
}

TEST_CASE("offsets that are none or out of range") {
  for (const char* offsets : {"3", "{}", "[]", "[0]", "[0,1,1]", "[-1,0]", "[0,-1]", "[0.0,1.0]", "[0,1.5]",
                              R"(["0","1"])", "[0,18446744073709551616]"}) {
    CAPTURE(offsets);
    check_rejected(one(R"("U8")", "[1]", offsets, 1), "not two non-negative integers");
  }
  check_rejected(one(R"("U8")", "[1]", "[0,2]", 1), "at bytes 0 to 2 of 1");
  check_rejected(one(R"("U8")", "[1]", "[1,0]", 1), "at bytes 1 to 0 of 1");
  check_rejected(one(R"("U8")", "[0]", "[5,5]", 1), "at bytes 5 to 5 of 1");
  check_rejected(one(R"("U8")", "[1]", "[18446744073709551614,18446744073709551615]", 1), "of 1");
}

TEST_CASE("a size that is not that of shape and dtype") {
  check_rejected(one(R"("F32")", "[2,3]", "[0,23]", 23), "in 23 bytes; f32 [2, 3] needs 24");
  check_rejected(one(R"("F64")", "[3]", "[0,12]", 12), "in 12 bytes; f64 [3] needs 24");
  check_rejected(one(R"("I64")", "[]", "[0,4]", 4), "in 4 bytes; i64 [] needs 8");
  check_rejected(one(R"("U8")", "[0]", "[0,1]", 1), "in 1 bytes; u8 [0] needs 0");
}

TEST_CASE("tensors that overlap or leave holes") {
  const std::string first = R"("shape":[2],"data_offsets":[0,2])",
                    second = R"("shape":[2],"data_offsets":[2,4])";
  CHECK(load_bytes(two(first, second, 4)).size() == 2);
  check_rejected(two(first, R"("shape":[2],"data_offsets":[1,3])", 3), "overlapping");
  check_rejected(two(first, first, 2), "overlapping");
  check_rejected(two(R"("shape":[4],"data_offsets":[0,4])", R"("shape":[0],"data_offsets":[2,2])", 4),
                 "overlapping");
  check_rejected(two(first, R"("shape":[2],"data_offsets":[3,5])", 5), "a hole before tensor \"b\"");
  check_rejected(one(R"("U8")", "[1]", "[1,2]", 2), "a hole before tensor \"w\"");
  check_rejected(two(first, second, 5), "1 bytes at the end that belong to no tensor");
  check_rejected(safetensors("{}", "x"), "1 bytes at the end");
}

TEST_CASE("names in messages are short and on one line") {
  const auto nameless = [](const std::string& name) { return safetensors("{\"" + name + "\":{}}"); };
  check_rejected(nameless("a\\nb"), "tensor \"a\\nb\" without dtype");
  check_rejected(nameless(std::string(10'000, 'a')), "aaa\"... without dtype");
}

TEST_CASE("no file that was cut or changed does worse than DataError") {
  const TempDir dir;
  save_safetensors(dir / "file", {{"w", ones({2, 2})}, {"n", arange(0, 3)}}, {{"a", "b"}});
  const std::string good = read_file(dir / "file");
  const auto rejected = [](const std::string& bytes) {
    try {
      load_bytes(bytes);
      return false;
    } catch (const DataError&) {
      return true;
    }
  };
  CHECK_FALSE(rejected(good));
  for (std::size_t n = 0; n < good.size(); ++n) CHECK(rejected(good.substr(0, n)));
  // A change may leave a valid file: another name, a value, a space. What a tool looks for then is a crash.
  const std::size_t header_end = good.find(' ', 8);
  for (std::size_t i = 0; i < header_end; ++i) {
    for (const char c : {'\0', '\xff', '"', '0', '9', '}', '[', ',', '-', ' '}) {
      std::string changed = good;
      changed[i] = c;
      rejected(changed);
    }
  }
}
