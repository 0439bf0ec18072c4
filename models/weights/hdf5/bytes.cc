#include "models/weights/hdf5/bytes_internal.h"

#include <bit>
#include <cstring>

#include "core/error.h"

namespace fovea::weights::hdf5 {

bool verify_checksums = true;

namespace {
/// Following an address costs at least this, however few bytes are read there.
constexpr std::uint64_t kVisit = 32;
}  // namespace

void Source::damaged(std::string_view what) const {
  throw Error(ErrorKind::format, where, str("damaged HDF5 file: ", what), "get the file again");
}

void Source::unsupported(std::string_view what, std::string_view hint) const {
  throw Error(ErrorKind::format, where, str("this HDF5 file has ", what, ", which is not read here"), hint);
}

void Source::pay(std::uint64_t amount) {
  if (amount > budget) {
    damaged(str("its parts refer to each other so often that reading them would take more than ", bytes.size(),
                " bytes are worth"));
  }
  budget -= amount;
}

std::span<const std::uint8_t> Source::data(std::uint64_t address, std::uint64_t size, const char* what) const {
  if (address > bytes.size() || size > bytes.size() - address) {
    damaged(str(what, " should have ", size, " bytes at ", address, ", the file ends at ", bytes.size()));
  }
  return bytes.subspan(static_cast<std::size_t>(address), static_cast<std::size_t>(size));
}

std::span<const std::uint8_t> Source::metadata(std::uint64_t address, std::uint64_t size, const char* what) {
  const std::span<const std::uint8_t> found = data(address, size, what);
  pay(size + kVisit);
  return found;
}

Cursor Source::block(std::uint64_t address, std::uint64_t size, std::string_view signature, bool checksum,
                     const char* what) {
  std::span<const std::uint8_t> found = metadata(address, size, what);
  if (found.size() < signature.size() + (checksum ? 4 : 0)) damaged(str(what, " is too short"));
  if (std::memcmp(found.data(), signature.data(), signature.size()) != 0) {
    damaged(str("no ", what, " at ", address, " (\"", signature, "\" expected)"));
  }
  if (checksum) {
    const std::span<const std::uint8_t> body = found.first(found.size() - 4);
    Cursor stored(*this, found.last(4), what);
    if (verify_checksums && stored.u32() != metadata_checksum(body))
      damaged(str("the checksum of ", what, " at ", address, " is wrong"));
    found = body;
  }
  Cursor cursor(*this, found, what);
  cursor.skip(signature.size());
  return cursor;
}

void Cursor::damaged(std::string_view what) const { source_->damaged(str(what_, ": ", what)); }

std::span<const std::uint8_t> Cursor::take(std::uint64_t count) {
  if (count > remaining()) damaged(str(count, " bytes expected, ", remaining(), " are left"));
  const std::span<const std::uint8_t> taken = bytes_.subspan(at_, static_cast<std::size_t>(count));
  at_ += taken.size();
  return taken;
}

std::string Cursor::text(std::uint64_t count) {
  const std::span<const std::uint8_t> taken = take(count);
  return {reinterpret_cast<const char*>(taken.data()), taken.size()};
}

std::uint64_t Cursor::sized(int width) {
  const std::span<const std::uint8_t> taken = take(static_cast<std::uint64_t>(width));
  std::uint64_t value = 0;
  for (std::size_t i = taken.size(); i > 0; --i) value = value << 8 | taken[i - 1];
  return value;
}

std::uint64_t Cursor::offset() {
  const std::uint64_t value = sized(source_->offset_size);
  return value == kUndefined >> (64 - 8 * source_->offset_size) ? kUndefined : value;
}

std::uint64_t Cursor::length() { return sized(source_->length_size); }

std::uint64_t product(const Source& source, std::uint64_t a, std::uint64_t b) {
  if (a != 0 && b > (std::uint64_t{1} << 62) / a) source.damaged(str(a, " x ", b, " is no possible size"));
  return a * b;
}

std::uint64_t product(const Source& source, std::span<const std::uint64_t> factors) {
  std::uint64_t result = 1;
  for (const std::uint64_t factor : factors) result = product(source, result, factor);
  return result;
}

std::uint32_t metadata_checksum(std::span<const std::uint8_t> bytes) {
  const auto rot = [](std::uint32_t x, int k) { return std::rotl(x, k); };
  std::uint32_t a = 0xdeadbeefu + static_cast<std::uint32_t>(bytes.size()), b = a, c = a;
  const std::uint8_t* p = bytes.data();
  std::size_t left = bytes.size();
  std::uint32_t k[3];
  while (left > 12) {
    std::memcpy(k, p, 12);
    a += k[0], b += k[1], c += k[2];
    a -= c, a ^= rot(c, 4), c += b;
    b -= a, b ^= rot(a, 6), a += c;
    c -= b, c ^= rot(b, 8), b += a;
    a -= c, a ^= rot(c, 16), c += b;
    b -= a, b ^= rot(a, 19), a += c;
    c -= b, c ^= rot(b, 4), b += a;
    p += 12, left -= 12;
  }
  if (left == 0) return c;
  std::memset(k, 0, 12);
  std::memcpy(k, p, left);
  a += k[0], b += k[1], c += k[2];
  c ^= b, c -= rot(b, 14);
  a ^= c, a -= rot(c, 11);
  b ^= a, b -= rot(a, 25);
  c ^= b, c -= rot(b, 16);
  a ^= c, a -= rot(c, 4);
  b ^= a, b -= rot(a, 14);
  c ^= b, c -= rot(b, 24);
  return c;
}

std::uint32_t fletcher32(std::span<const std::uint8_t> bytes) {
  std::uint32_t low = 0, high = 0;
  const auto fold = [](std::uint32_t x) { return (x & 0xffff) + (x >> 16); };
  std::size_t at = 0;
  while (at + 1 < bytes.size()) {
    // 360 words are the most whose sums fit in 32 bits.
    for (int n = 0; n < 360 && at + 1 < bytes.size(); ++n, at += 2) {
      low += static_cast<std::uint32_t>(bytes[at] << 8 | bytes[at + 1]);
      high += low;
    }
    low = fold(low), high = fold(high);
  }
  if (at < bytes.size()) {
    low += static_cast<std::uint32_t>(bytes[at] << 8);
    high += low;
    low = fold(low), high = fold(high);
  }
  low = fold(low), high = fold(high);
  return high << 16 | low;
}

}  // namespace fovea::weights::hdf5
