// SHA-256 of files and data sets.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace evenkeel {

/// The SHA-256 of what it is fed. Throws Error if OpenSSL fails.
class Sha256 {
 public:
  Sha256();
  void update(const void* bytes, std::size_t n);
  /// 64 hexadecimal digits. Nothing can be fed afterwards.
  std::string hex();

 private:
  std::shared_ptr<void> context_;  // OpenSSL's EVP_MD_CTX
};

/// The SHA-256 of a text, as 64 hexadecimal digits.
std::string sha256(std::string_view text);

}  // namespace evenkeel
