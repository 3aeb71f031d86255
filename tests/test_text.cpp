// Text from outside: what it becomes in files, messages and commands.
#include "text.h"

#include "catch.h"

using namespace evenkeel::app;

TEST_CASE("text in UTF-8 stays, other bytes are escaped") {
  CHECK(as_utf8("caf\u00e9 \\ \U0001F600") == "caf\u00e9 \\ \U0001F600");
  CHECK(as_utf8("caf\xE9 \\") == "caf\\xE9 \\\\");
  CHECK(as_utf8("\xC0\x80 \xED\xA0\x80 \xF5") == "\\xC0\\x80 \\xED\\xA0\\x80 \\xF5");
}

TEST_CASE("one line has nothing that a terminal obeys") {
  CHECK(as_one_line("caf\u00e9 \xE9 \U0001F600") == "caf\u00e9 \xE9 \U0001F600");
  CHECK(as_one_line("a\nb\x1b[31m\x7f") == "a b [31m ");
  CHECK(as_one_line("\u009b31m \u202e \u2066 \u200f \u2028") == "\\u009B31m \\u202E \\u2066 \\u200F \\u2028");
}

TEST_CASE("arguments are quoted where a shell would change them") {
  CHECK(shell_quoted("--out=runs/a-1.5,b") == "--out=runs/a-1.5,b");
  CHECK(shell_quoted("") == "''");
  CHECK(shell_quoted("s 8") == "'s 8'");
  CHECK(shell_quoted("$HOME*~\\") == "'$HOME*~\\'");
  CHECK(shell_quoted("it's") == "'it'\\''s'");
  CHECK(shell_quoted("caf\u00e9") == "'caf\u00e9'");
  CHECK(shell_quoted("it's\n\\caf\xE9") == "$'it\\'s\\x0A\\\\caf\\xE9'");
  CHECK(shell_quoted("\u202e") == "$'\\xE2\\x80\\xAE'");
}
