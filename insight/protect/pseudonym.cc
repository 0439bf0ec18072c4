#include "insight/protect/pseudonym.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "core/io/file.h"

namespace fovea::insight {
namespace {

constexpr char kHex[] = "0123456789abcdef";

int hex_value(std::uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

}  // namespace

PseudonymKey PseudonymKey::load(const std::string& path) {
  const std::vector<std::uint8_t> text = read_file(path, std::size_t{1} << 16);
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && (info.st_mode & 077) != 0) {
    throw Error(ErrorKind::file, path, "the key can be read by others than its owner", str("chmod 600 '", path, "'"));
  }
  std::array<std::uint8_t, 32> secret{};
  const std::size_t digits = 2 * secret.size();
  bool good = text.size() >= digits && text.size() <= digits + 2;
  for (std::size_t i = 0; good && i < digits; i += 2) {
    const int high = hex_value(text[i]), low = hex_value(text[i + 1]);
    good = high >= 0 && low >= 0;
    secret[i / 2] = static_cast<std::uint8_t>(good ? 16 * high + low : 0);
  }
  for (std::size_t i = digits; good && i < text.size(); ++i) good = text[i] == '\n' || text[i] == '\r';
  if (!good)
    throw Error(ErrorKind::format, path, "is no key: expected 64 hexadecimal digits and the end of the line",
                "name a file that does not exist to have a key made");
  return PseudonymKey(secret);
}

PseudonymKey PseudonymKey::create(const std::string& path) {
  std::array<std::uint8_t, 32> secret{};
  if (RAND_bytes(secret.data(), static_cast<int>(secret.size())) != 1)
    throw Error(ErrorKind::file, path, "no key can be made: the system gives no random numbers");
  std::string text;
  for (const std::uint8_t byte : secret) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  text += '\n';
  const std::string folder = std::filesystem::path(path).parent_path().string();
  if (!folder.empty()) make_folders(folder);
  // O_EXCL instead of a rename: of two programs that start at once, one must not replace the other's key.
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) throw Error(ErrorKind::file, path, str("the key cannot be written: ", std::strerror(errno)));
  const bool written =
      ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(file) == 0;
  const int reason = errno;
  ::close(file);
  if (!written) {
    ::unlink(path.c_str());
    throw Error(ErrorKind::file, path, str("the key cannot be written: ", std::strerror(reason)));
  }
  return PseudonymKey(secret);
}

std::array<std::uint8_t, 32> PseudonymKey::mac(std::string_view domain, std::string_view text) const {
  std::string message(domain);
  message += '\0';
  message += text;
  std::array<std::uint8_t, 32> out{};
  unsigned int size = 0;
  if (!HMAC(EVP_sha256(), secret_.data(), static_cast<int>(secret_.size()),
            reinterpret_cast<const unsigned char*>(message.data()), message.size(), out.data(), &size) ||
      size != out.size())
    throw Error(ErrorKind::memory, "pseudonym", "OpenSSL could not compute HMAC-SHA-256");
  return out;
}

std::string PseudonymKey::pseudonym(std::string_view domain, std::string_view text, int digits) const {
  if (digits < 1 || digits > 64)
    throw Error(ErrorKind::usage, "pseudonym", str(digits, " digits were asked for, expected 1 to 64"));
  std::string out;
  for (const std::uint8_t byte : mac(domain, text)) {
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  out.resize(static_cast<std::size_t>(digits));
  return out;
}

std::string PseudonymKey::uid(std::string_view text) const {
  std::array<std::uint8_t, 32> bytes = mac("uid", text);
  bytes[6] = static_cast<std::uint8_t>((bytes[6] & 0x0f) | 0x40);  // version 4: random
  bytes[8] = static_cast<std::uint8_t>((bytes[8] & 0x3f) | 0x80);  // the variant of RFC 4122
  // The 128 bits as a decimal number: divided by ten until nothing is left.
  std::string digits;
  const auto begin = bytes.begin(), end = bytes.begin() + 16;
  while (std::any_of(begin, end, [](std::uint8_t b) { return b != 0; })) {
    unsigned rest = 0;
    for (auto at = begin; at != end; ++at) {
      rest = rest << 8 | *at;
      *at = static_cast<std::uint8_t>(rest / 10);
      rest %= 10;
    }
    digits += static_cast<char>('0' + rest);
  }
  std::reverse(digits.begin(), digits.end());
  return "2.25." + digits;
}

}  // namespace fovea::insight
