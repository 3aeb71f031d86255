// What the fuzzers begin with: good files, and those that once did harm or might.
#include <fmt/format.h>
#include <zlib.h>

#include <array>

#include "fuzz/targets.h"

namespace evenkeel::fuzz {
namespace {

// --- tensors in files --------------------------------------------------------------------------------------

std::string idx_file(const std::vector<std::uint32_t>& sizes, const std::string& values) {
  std::string bytes = {'\0', '\0', '\x08', static_cast<char>(sizes.size())};
  for (const std::uint32_t size : sizes) {
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(size >> shift & 0xff);
  }
  return bytes + values;
}

std::vector<Seed> idx_seeds() {
  return {{"images", idx_file({2, 2, 3}, "abcdefABCDEF"), true},
          {"labels", idx_file({4}, std::string("\0\1\2\t", 4)), true},
          {"scalar", idx_file({}, "x"), true},
          {"rank_8", idx_file({1, 1, 1, 1, 1, 1, 1, 2}, "ab"), true},
          {"no_images", idx_file({0, 28, 28}, ""), true},
          {"overflow_and_zero", idx_file({2147483650U, 1073741824, 0}, ""), false},
          {"product_is_2_64", idx_file({0x80000000U, 0x80000000U, 4}, "abc"), false},
          {"most", idx_file({0xffffffffU, 0xffffffffU, 0xffffffffU}, "abc"), false},
          {"cut_short", idx_file({2, 2, 3}, "abcdefABCDE"), false},
          {"surplus", idx_file({3}, "abcd"), false},
          {"floats", std::string("\0\0\x0d\1\0\0\0\1abcd", 12), false},
          {"html", "<html>not found</html>", false},
          {"nothing", "", false}};
}

std::vector<Seed> idx_gz_seeds() {
  std::vector<Seed> all;
  for (const Seed& seed : idx_seeds()) {
    if (seed.bytes.empty()) continue;
    all.push_back({seed.name, "\1" + seed.bytes, seed.accepted});
    all.push_back({seed.name + "_in_two", "\11" + seed.bytes, seed.accepted});
  }
  // gzip -n of idx_file({3}, "abc"), stored without compression.
  const std::string stored("\x1f\x8b\x08\0\0\0\0\0\0\3\1\x0b\0\xf4\xff\0\0\x08\1\0\0\0\3abc", 26);
  std::string whole = std::string(1, '\0') + stored;
  const std::string content = stored.substr(15);
  std::uint32_t crc = static_cast<std::uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size())));
  for (std::uint32_t word : {crc, static_cast<std::uint32_t>(content.size())}) {
    for (int i = 0; i < 4; ++i, word >>= 8) whole += static_cast<char>(word & 0xff);
  }
  all.push_back({"stored", whole, true});
  all.push_back({"stored_cut_short", whole.substr(0, whole.size() - 3), false});
  all.push_back({"stored_and_rest", whole + "rest", false});
  all.push_back({"stored_and_zeros", whole + std::string(5, '\0'), true});
  all.push_back({"only_magic", std::string("\0\x1f\x8b", 3), false});
  return all;
}

std::string safetensors_file(const std::string& header, const std::string& data = "") {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(header.size() >> 8 * i & 0xff);
  return bytes + header + data;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{}]}})", name, dtype, shape,
                     offsets);
}

std::vector<Seed> safetensors_seeds() {
  const std::string w = entry("w", "F32", "1,2", "0,8"), b = entry("b", "I64", "", "8,16");
  const auto one = [](const std::string& e, std::size_t bytes) {
    return safetensors_file("{" + e + "}", std::string(bytes, 'x'));
  };
  std::string deep = "{\"a\":";
  for (int i = 0; i < 500; ++i) deep += "[";
  return {{"two", one(w + "," + b, 16), true},
          {"metadata", one(R"("__metadata__":{"norm":"gn","groups":"2"},)" + w, 8), true},
          {"empty", safetensors_file("{}"), true},
          {"spaces", safetensors_file("{}      "), true},
          {"no_elements", one(entry("w", "U8", "0,3", "0,0"), 0), true},
          {"f16", one(entry("w", "F16", "2", "0,4") + "," + entry("v", "BF16", "2", "4,8"), 8), true},
          {"f64", one(entry("w", "F64", "1", "0,8"), 8), true},
          {"twice", one(w + "," + w, 8), false},
          {"overlap", one(w + "," + entry("b", "F32", "2", "4,12"), 12), false},
          {"hole", one(w + "," + entry("b", "F32", "1", "12,16"), 16), false},
          {"rest", one(w, 9), false},
          {"short", one(w, 7), false},
          {"metadata_number", one(R"("__metadata__":{"a":1},)" + w, 8), false},
          {"overflow", one(entry("w", "F64", "4294967296,4294967296", "0,0"), 0), false},
          {"overflow_and_zero", one(entry("w", "U8", "0,4294967296,4294967296", "0,0"), 0), false},
          {"dtype", one(entry("w", "I128", "1", "0,16"), 16), false},
          {"negative", one(entry("w", "U8", "-1", "0,1"), 1), false},
          {"list", safetensors_file("[]"), false},
          {"deep", safetensors_file(deep), false},
          {"long_header", std::string(8, '\x7f') + "{}", false},
          {"nothing", "", false}};
}

// --- files of a run ----------------------------------------------------------------------------------------

std::string row(int epoch, const std::string& split, const std::string& loss = "0.25",
                const std::string& seconds = "1.5") {
  return fmt::format(R"({{"accuracy":0.9,"epoch":{},"images_per_s":100.0,"l1":12.5,"loss":{},"lr":0.01,)"
                     R"("seconds":{},"sparsity":0.0,"split":"{}"}})",
                     epoch, loss, seconds, split) +
         "\n";
}

const std::string kTwoEpochs = row(1, "train") + row(1, "test") + row(2, "train") + row(2, "test");

std::vector<Seed> metrics_seeds() {
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "[";
  return {{"two_epochs", kTwoEpochs, true},
          {"untrained", row(0, "test"), true},
          {"split", row(1, "trahn") + row(1, "test"), false},
          {"order", row(1, "test") + row(1, "train"), false},
          {"late", row(2, "train"), false},
          {"twice", row(1, "train") + row(1, "train"), false},
          {"untrained_twice", row(0, "test") + row(0, "test"), false},
          {"null", row(1, "train", "null"), false},
          {"nan", row(1, "train", "NaN"), false},
          {"text", row(1, "train", "\"0.25\""), false},
          {"huge", row(1, "train", "1e999"), false},
          {"negative_seconds", row(1, "train", "1", "-1"), false},
          {"long_seconds", row(1, "train", "1", "1e308"), false},
          {"same_key", "{\"epoch\":1,\"epoch\":1}\n", false},
          {"deep", deep + "\n", false},
          {"not_utf8", "{\"split\":\"\xff\"}\n", false},
          {"cut_short", kTwoEpochs.substr(0, kTwoEpochs.size() - 1), false},
          {"empty_line", "\n", false},
          {"nothing", "", false}};
}

std::vector<Seed> checkpoint_seeds() {
  const auto file = [](const std::string& recipe, const std::string& state, const std::string& metrics) {
    return recipe + '\0' + state + '\0' + metrics + '\0';
  };
  const auto at = [&](const std::string& state) {
    return file(R"({"epochs":3,"lr":0.01})", state, kTwoEpochs);
  };
  const std::string good = R"({"draws":500,"epoch":3,"seconds":1.5,"step":2,"steps":10})";
  return {{"good", at(good), true},
          {"first_epoch",
           file(R"({"epochs":1})", R"({"draws":0,"epoch":1,"seconds":0,"step":1,"steps":1})", ""), true},
          {"finished", at(good) + R"({"metrics.csv":"00","model.safetensors":"ff"})" + '\0', true},
          {"untrained",
           file(R"({"epochs":0})", R"({"draws":9,"epoch":0,"seconds":0,"step":0,"steps":0})", ""), true},
          {"steps_without_training",
           file(R"({"epochs":0})", R"({"draws":9,"epoch":0,"seconds":0,"step":1,"steps":1})", ""), false},
          {"results_list", at(good) + "[]" + '\0', false},
          {"results_numbers", at(good) + R"({"metrics.csv":0})" + '\0', false},
          {"epoch_7_of_1",
           file(R"({"epochs":1})", R"({"draws":0,"epoch":7,"seconds":0,"step":1,"steps":1})", ""), false},
          {"epoch_wraps", at(R"({"draws":500,"epoch":4294967299,"seconds":1.5,"step":2,"steps":10})"), false},
          {"epoch_fraction", at(R"({"draws":500,"epoch":2.5,"seconds":1.5,"step":2,"steps":10})"), false},
          {"epoch_text", at(R"({"draws":500,"epoch":"3","seconds":1.5,"step":2,"steps":10})"), false},
          {"step_negative", at(R"({"draws":500,"epoch":3,"seconds":1.5,"step":-2,"steps":10})"), false},
          {"step_after_last", at(R"({"draws":500,"epoch":3,"seconds":1.5,"step":11,"steps":10})"), false},
          {"no_steps", at(R"({"draws":500,"epoch":3,"seconds":1.5,"step":0,"steps":0})"), false},
          {"no_draws", at(R"({"epoch":3,"seconds":1.5,"step":2,"steps":10})"), false},
          {"draws_negative", at(R"({"draws":-1,"epoch":3,"seconds":1.5,"step":2,"steps":10})"), false},
          {"draws_float", at(R"({"draws":1e30,"epoch":3,"seconds":1.5,"step":2,"steps":10})"), false},
          {"seconds_negative", at(R"({"draws":500,"epoch":3,"seconds":-1.5,"step":2,"steps":10})"), false},
          {"seconds_huge", at(R"({"draws":500,"epoch":3,"seconds":1e308,"step":2,"steps":10})"), false},
          {"seconds_null", at(R"({"draws":500,"epoch":3,"seconds":null,"step":2,"steps":10})"), false},
          {"recipe_list", file("[]", good, kTwoEpochs), false},
          {"recipe_empty", file("{}", good, kTwoEpochs), false},
          {"state_list", at("[]"), false},
          {"rows_of_now", file(R"({"epochs":3})", good, kTwoEpochs + row(3, "train")), false},
          {"half_an_epoch", file(R"({"epochs":3})", good, row(1, "train")), false},
          {"order", file(R"({"epochs":3})", good, row(2, "train") + row(2, "test")), false},
          {"nothing", "", false}};
}

std::vector<Seed> done_seeds() {
  const std::string metadata = R"("__metadata__":{"recipe":"{\"epochs\":0}","metrics":"","crc32":"84b60e0f",)"
                               R"("state":"{\"epoch\":0,\"step\":0,\"steps\":0,\"seconds\":0,\"draws\":0}"})";
  return {{"older_version", "done\n", false},
          {"wrong_checksum", safetensors_file("{" + metadata + "}"), false},
          {"no_metadata", safetensors_file("{}"), false},
          {"text", "done", false},
          {"nothing", "", false}};
}

std::vector<Seed> config_seeds() {
  return {
      {"good", R"({"evenkeel":"0.1.0","recipe":{"lr":0.01,"norm":"bn","seed":18446744073709551615}})", true},
      {"empty_recipe", R"({"evenkeel":"","recipe":{}})", true},
      {"recipe_list", R"({"evenkeel":"0.1.0","recipe":[]})", false},
      {"recipe_null", R"({"evenkeel":"0.1.0","recipe":null})", false},
      {"version_number", R"({"evenkeel":1,"recipe":{}})", false},
      {"no_recipe", R"({"evenkeel":"0.1.0"})", false},
      {"twice", R"({"evenkeel":"0.1.0","recipe":{},"recipe":{}})", false},
      {"list", "[]", false},
      {"text", "\"evenkeel\"", false},
      {"not_utf8", "{\"evenkeel\":\"\xff\",\"recipe\":{}}", false},
      {"deep", R"({"evenkeel":"","recipe":)" + std::string(1000, '['), false},
      {"nul", std::string("{\"evenkeel\":\"\",\"recipe\":{}}\0", 29), false},
      {"cut_short", "{\"evenkeel\":", false},
      {"nothing", "", false}};
}

std::vector<Seed> predictions_seeds() {
  const std::string columns = "index,label,prediction,p_label,p_prediction\n";
  return {{"two", columns + "0,7,7,0.999,0.999\n1,2,3,1.5e-05,0.75\n", true},
          {"sure", columns + "0,0,9,0,1\n", true},
          {"class_10", columns + "0,10,7,0.1,0.2\n", false},
          {"negative", columns + "0,-1,7,0.1,0.2\n", false},
          {"another_index", columns + "1,7,7,0.9,0.9\n", false},
          {"nan", columns + "0,7,6,nan,0.9\n", false},
          {"above_1", columns + "0,7,7,1.5,1.5\n", false},
          {"below_0", columns + "0,7,6,-0.5,0.5\n", false},
          {"least", columns + "0,7,6,1e-999,0.5\n", false},
          {"label_more_probable", columns + "0,7,6,0.9,0.1\n", false},
          {"right_but_different", columns + "0,7,7,0.1,0.9\n", false},
          {"columns", "index,label,prediction\n0,7,7\n", false},
          {"another_column", columns + "0,7,7,0.9,0.9,0.9\n", false},
          {"missing_column", columns + "0,7,7,0.9\n", false},
          {"spaces", columns + "0, 7,7,0.9,0.9\n", false},
          {"wraps", columns + "0,4294967296,0,0.9,0.9\n", false},
          {"cut_short", columns + "0,7,7,0.9,0.9", false},
          {"only_columns", columns, false},
          {"nothing", "", false}};
}

std::vector<Seed> peer_file_seeds() {
  const std::string times = R"({"median":1e-3,"p10":9e-4,"p90":2e-3})";
  const auto file = [](const std::string& rows) {
    return R"({"peer":"P 1","device":"cpu","threads":2,"rows":)" + rows + "}";
  };
  const auto row_with = [](const std::string& cold, const std::string& warm) {
    return R"({"op":"relu","pass":"forward","variant":"","dtype":"f32","shape":[64,1,28,28],"cold":)" + cold +
           R"(,"warm":)" + warm + "}";
  };
  const auto list_of = [](const std::string& row) { return fmt::format("[{}]", row); };
  return {{"one", file(list_of(row_with(times, times))), true},
          {"no_rows", file("[]"), true},
          {"rows_object", file("{}"), false},
          {"row_number", file("[1]"), false},
          {"time_0", file(list_of(row_with(times, R"({"median":0,"p10":0,"p90":0})"))), false},
          {"time_text", file(list_of(row_with(times, R"({"median":"1","p10":1,"p90":1})"))), false},
          {"time_number", file(list_of(row_with("1", "0"))), false},
          {"threads", R"({"peer":"P","device":"cpu","threads":3,"rows":[]})", false},
          {"threads_wrap", R"({"peer":"P","device":"cpu","threads":4294967298,"rows":[]})", false},
          {"device", R"({"peer":"P","device":"cuda","threads":2,"rows":[]})", false},
          {"peer_number", R"({"peer":1,"device":"cpu","threads":2,"rows":[]})", false},
          {"deep", file(std::string(1000, '[')), false},
          {"nothing", "", false}};
}

}  // namespace

const std::vector<Target>& targets() {
  static const std::vector<Target> all = {{"idx", idx},
                                          {"idx_gz", idx_gz},
                                          {"done", done},
                                          {"safetensors", safetensors},
                                          {"checkpoint", checkpoint},
                                          {"metrics", metrics},
                                          {"config", config},
                                          {"predictions", predictions},
                                          {"peer_file", peer_file}};
  return all;
}

std::vector<Seed> seeds(std::string_view target) {
  if (target == "idx") return idx_seeds();
  if (target == "idx_gz") return idx_gz_seeds();
  if (target == "safetensors") return safetensors_seeds();
  if (target == "checkpoint") return checkpoint_seeds();
  if (target == "metrics") return metrics_seeds();
  if (target == "done") return done_seeds();
  if (target == "config") return config_seeds();
  if (target == "predictions") return predictions_seeds();
  if (target == "peer_file") return peer_file_seeds();
  return {};
}

}  // namespace evenkeel::fuzz
