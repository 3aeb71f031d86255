#include "evenkeel/core/sha256.h"

#include <openssl/evp.h>

#include <array>

#include "evenkeel/base/error.h"

namespace evenkeel {
namespace {

EVP_MD_CTX* evp(const std::shared_ptr<void>& context) { return static_cast<EVP_MD_CTX*>(context.get()); }

}  // namespace

Sha256::Sha256()
    : context_(EVP_MD_CTX_new(), [](void* context) { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context)); }) {
  EK_CHECK(context_ && EVP_DigestInit_ex(evp(context_), EVP_sha256(), nullptr) == 1,
           "OpenSSL has no SHA-256");
}

void Sha256::update(const void* bytes, std::size_t n) {
  EK_CHECK(EVP_DigestUpdate(evp(context_), bytes, n) == 1, "OpenSSL's SHA-256 failed");
}

std::string Sha256::hex() {
  std::array<unsigned char, 32> digest{};
  EK_CHECK(EVP_DigestFinal_ex(evp(context_), digest.data(), nullptr) == 1, "OpenSSL's SHA-256 failed");
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

std::string sha256(std::string_view text) {
  Sha256 sum;
  sum.update(text.data(), text.size());
  return sum.hex();
}

}  // namespace evenkeel
