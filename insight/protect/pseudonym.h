// Names that cannot be turned back without a secret: HMAC-SHA-256 (RFC 2104) under a key that is kept in a file of its
// own.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/export.h"

namespace fovea::insight {

/// A secret of 256 bits. Whoever holds it can find the pseudonym of a name that they know or guess, so it belongs apart
/// from what it protects; nobody can turn a pseudonym back into a name.
class FOVEA_API PseudonymKey {
 public:
  /// Reads a key file: 64 hexadecimal digits. Error{file}: missing, or readable by others than its owner (what ssh asks
  /// of its keys too); Error{format}: anything else in it.
  static PseudonymKey load(const std::string& path);
  /// Makes a new random key and writes it, readable by its owner only; folders above it are made. Error{file}, also
  /// where a file of that name exists.
  static PseudonymKey create(const std::string& path);
  explicit PseudonymKey(const std::array<std::uint8_t, 32>& secret) : secret_(secret) {}

  /// HMAC-SHA-256 of `domain`, a zero byte and `text`. Different domains give unrelated results for one text.
  std::array<std::uint8_t, 32> mac(std::string_view domain, std::string_view text) const;
  /// The first `digits` (1 to 64) hexadecimal digits of mac(). With 16 digits, two among a million names have the same
  /// pseudonym with a chance of 3e-8.
  std::string pseudonym(std::string_view domain, std::string_view text, int digits = 16) const;
  /// A DICOM UID "2.25." and a decimal number of 122 bits from mac(), shaped as a random UUID (PS3.5 B.2).
  std::string uid(std::string_view text) const;

 private:
  std::array<std::uint8_t, 32> secret_;
};

}  // namespace fovea::insight
