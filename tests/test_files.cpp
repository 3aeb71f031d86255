// Reading files and JSON that may be anything: what is refused, and in which words.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "compare.h"
#include "evenkeel/core/files.h"
#include "evenkeel/core/json.h"
#include "files.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

std::string read(const std::filesystem::path& file) {
  return reading(file, "do this", [&] { return read_text(file, 1000); });
}

/// read_text must refuse the file in one line.
void check_refused(const std::filesystem::path& file, const std::string& complaint) {
  CHECK_THROWS_AS(read(file), DataError);
  CHECK(error_of([&] { read(file); }) == file.string() + " " + complaint + "; do this");
}

std::string complaint_about(const std::string& json) {
  return error_of([&] { parse_json(json); });
}

}  // namespace

TEST_CASE("read_text gives all bytes of a file") {
  const TempDir dir;
  const std::string bytes("a\0\xff\r\n", 5);
  write_file(dir / "file", bytes);
  CHECK(read(dir / "file") == bytes);
  write_file(dir / "empty", "");
  CHECK(read(dir / "empty").empty());
  write_file(dir / "large", std::string(1000, 'x'));
  CHECK(read(dir / "large").size() == 1000);
  std::filesystem::create_symlink("file", dir / "link");
  CHECK(read(dir / "link") == bytes);
}

TEST_CASE("read_text refuses what is no file, at once") {
  const TempDir dir;
  check_refused(dir / "none", "cannot be opened: No such file or directory");
  check_refused(dir.path(), "cannot be opened: it is a directory, not a file");
  REQUIRE(mkfifo((dir / "pipe").c_str(), 0600) == 0);
  check_refused(dir / "pipe", "cannot be opened: it is a pipe, not a file");
  check_refused("/dev/zero", "cannot be opened: it is a device, not a file");
  std::filesystem::create_symlink("loop", dir / "loop");
  check_refused(dir / "loop", "cannot be opened: Too many levels of symbolic links");
  const int server = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  (dir / "socket").string().copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(bind(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  check_refused(dir / "socket", "cannot be opened: No such device or address");
  close(server);
}

TEST_CASE("read_text refuses a file that is too large, whatever the memory") {
  const TempDir dir;
  write_file(dir / "file", "x");
  std::filesystem::resize_file(dir / "file", std::uintmax_t{20} << 30);
  check_refused(dir / "file", "has 21474836480 bytes, far more than such a file can have");
  std::filesystem::resize_file(dir / "file", 1001);
  check_refused(dir / "file", "has 1001 bytes, far more than such a file can have");
}

TEST_CASE("reading a file that needs too much memory ends in the same kind of line") {
  const auto line = [](auto problem) {
    return error_of([&] { reading("file", "do this", [&]() -> int { throw problem; }); });
  };
  CHECK(line(OutOfMemory("the CPU is out of memory")) == "file needs more memory than there is; do this");
  CHECK(line(std::bad_alloc()) == "file needs more memory than there is; do this");
  CHECK(line(std::length_error("vector")) == "file needs more memory than there is; do this");
}

TEST_CASE("JSON is parsed strictly") {
  CHECK(parse_json(R"({"a":[1,-2,0.5,"x",null,true]})").at("a").size() == 6);
  for (const char* bad : {"", " ", "{", "{}}", "{'a':1}", "{\"a\":1,}", "nan", "1e999", "-", "\"\n\"", "\xff",
                          "\"\xff\"", "\"\xed\xa0\x80\"", "\"\\ud800\"", "{}//", "01", "+1", "0x1"}) {
    CAPTURE(bad);
    CHECK(complaint_about(bad) == "is not JSON");
  }
  CHECK(complaint_about(std::string("{}\0", 3)) == "is not JSON: it has a NUL");
  CHECK(complaint_about(R"({"a":1,"a":1})") == R"(is ambiguous: it has the key "a" twice)");
  CHECK(complaint_about(R"([{"b":{"\n":1,"\n":1}}])") == R"(is ambiguous: it has the key "\n" twice)");
  CHECK(parse_json(std::string(16, '[') + std::string(16, ']')).size() == 1);
  CHECK(complaint_about(std::string(1'000'000, '[')) == "is nested deeper than 16");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  CHECK(complaint_about(objects) == "is nested deeper than 16");
}

TEST_CASE("a member is read with its type and range, or refused") {
  const auto json = parse_json(
      R"({"text":"x","int":-3,"float":1.5,"whole":2.0,"large":18446744073709551615,"null":null,"true":true,
          "digits":"3","huge":123456789012345678901234567890})");
  CHECK(text_at(json, "text") == "x");
  CHECK(number_at(json, "float") == 1.5);
  CHECK(number_at(json, "int") == -3);
  CHECK(integer_at(json, "int", -3, 3) == -3);
  CHECK(unsigned_at(json, "large") == 18446744073709551615U);
  const auto complaint = [&](auto read) { return error_of([&] { read(); }); };
  CHECK(complaint([&] { integer_at(json, "int", -2, 3); }) == "has int -3, not one from -2 to 3");
  CHECK(complaint([&] { integer_at(json, "large", 0, INT64_MAX); }) ==
        "has large 18446744073709551615, not one from 0 to 9223372036854775807");
  CHECK(complaint([&] { number_at(json, "float", 0, 1); }) == "has float 1.5, not one from 0 to 1");
  for (const char* key : {"float", "whole", "null", "true", "digits", "text", "huge"}) {
    CAPTURE(key);
    CHECK(mentions(complaint([&] { integer_at(json, key, 0, 9); }), {"has no integer as "}));
    CHECK(mentions(complaint([&] { unsigned_at(json, key); }), {"has no integer of at least 0 as "}));
  }
  for (const char* key : {"null", "true", "digits"})
    CHECK(mentions(complaint([&] { number_at(json, key); }), {"has no number as "}));
  CHECK(mentions(complaint([&] { unsigned_at(json, "int"); }), {"has no integer of at least 0 as int"}));
  CHECK(mentions(complaint([&] { text_at(json, "int"); }), {"has no text as int"}));
  CHECK(complaint([&] { text_at(json, "none"); }) == "has no none");
  CHECK(complaint([&] { text_at(parse_json("[]"), "a"); }) == "has no object where a should be");
}

TEST_CASE("text is quoted on one line, whatever its bytes are") {
  CHECK(in_quotes("a\"\n\xff") == R"("a\"\n\ufffd")");
  CHECK(in_quotes(std::string(200, 'x')) == "\"" + std::string(100, 'x') + "\"...");
}

// --- writing
// ----------------------------------------------------------------------------------------------------------

TEST_CASE("write_file_atomically replaces a file, and leaves it where writing fails") {
  const TempDir dir;
  write_file_atomically(dir / "file", [](std::ostream& out) { out << std::string(200000, 'a'); });
  CHECK(read_file(dir / "file") == std::string(200000, 'a'));
  write_file_atomically(dir / "file", [](std::ostream& out) { out << "new"; });
  CHECK(read_file(dir / "file") == "new");
  const auto interrupted = [](std::ostream& out) {
    out << std::string(200000, 'b');
    throw std::runtime_error("stopped");
  };
  CHECK_THROWS_AS(write_file_atomically(dir / "file", interrupted), std::runtime_error);
  CHECK(read_file(dir / "file") == "new");
  CHECK(dir.count() == 1);
  CHECK_THROWS_AS(write_file_atomically(dir / "none" / "file", [](std::ostream&) {}), Error);
  CHECK_THROWS_AS(write_file_atomically(dir.path(), [](std::ostream&) {}), Error);
}

TEST_CASE("write_file_atomically replaces what a link points to, and refuses what is no file") {
  const TempDir dir;
  write_file(dir / "target", "old");
  std::filesystem::create_symlink("target", dir / "link");
  std::filesystem::create_symlink("later", dir / "dangling");
  for (const char* name : {"link", "dangling"}) {
    write_file_atomically(dir / name, [](std::ostream& out) { out << "new"; });
    CHECK(std::filesystem::is_symlink(dir / name));
    CHECK(read_file(dir / name) == "new");
  }
  CHECK(read_file(dir / "target") == "new");
  CHECK(read_file(dir / "later") == "new");
  REQUIRE(mkfifo((dir / "pipe").c_str(), 0666) == 0);  // without a reader, opening it would wait
  for (const std::string& name : {(dir / "pipe").string(), dir.path().string(), std::string("/dev/null")}) {
    INFO(name);
    CHECK_THROWS_AS(write_file_atomically(name, [](std::ostream& out) { out << "new"; }), Error);
    CHECK_FALSE(std::filesystem::is_regular_file(name));
  }
}

TEST_CASE("a file that cannot be written is refused before and in the writing, and what is there stays") {
  const TempDir dir;
  write_file(dir / "there", "old");
  std::filesystem::create_symlink("b", dir / "a");
  std::filesystem::create_symlink("a", dir / "b");
  std::filesystem::create_symlink("none/file", dir / "astray");
  const std::string longest(255, 'x');  // leaves no room for the suffix of the file beside it
  write_file(dir / longest, "old");
  for (const std::string& name :
       {std::string("a"), std::string("astray"), std::string("none/file"), longest}) {
    CAPTURE(name);
    const std::string message = error_of([&] { check_can_write(dir / name); });
    CHECK(mentions(message, {"cannot write " + (dir / name).string() + " (", "choose another name"}));
    CHECK(error_of([&] { write_file_atomically(dir / name, [](std::ostream&) {}); }) == message);
  }
  check_can_write(dir / "there");
  check_can_write(dir / "new");
  CHECK(read_file(dir / "there") == "old");
  CHECK(std::filesystem::is_symlink(dir / "a"));
  CHECK(std::filesystem::is_symlink(dir / "b"));
  CHECK(dir.count() == 5);
}

TEST_CASE("is_left_by_write knows the names that writing makes, and no others") {
  CHECK(is_left_by_write("metrics.csv.123-0.tmp", "metrics.csv"));
  for (const char* name :
       {"metrics.csv", "metrics.csv.tmp", "metrics.csv.123.tmp", "metrics.csv.-.tmp", "metrics.csv.123-.tmp",
        "metrics.csv.a-0.tmp", "metrics.csv.1-0.tmp.bak", "metrics.csv.1-0", "metrics.jsonl.1-0.tmp",
        "metrics.csv1-0.tmp", "x.metrics.csv.1-0.tmp"}) {
    INFO(name);
    CHECK_FALSE(is_left_by_write(name, "metrics.csv"));
  }
}
