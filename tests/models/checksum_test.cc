// The published check values of both polynomials, and calls that continue one another.
#include "catch.h"
#include "models/weight_file_writer.h"

using namespace fovea::weights;
using writer::as_bytes;

TEST_CASE("checksums: published values, any length, in pieces") {
  CHECK(crc32(as_bytes("123456789")) == 0xcbf43926u);
  CHECK(crc32c(as_bytes("123456789")) == 0xe3069283u);
  CHECK(crc32({}) == 0);
  CHECK(crc32c(as_bytes(std::string(32, '\0'))) == 0x8a9136aau);  // RFC 3720, B.4
  CHECK(crc32c(as_bytes(std::string(32, '\xff'))) == 0x62a8ab43u);
  CHECK(masked(0x8a9136aau) == ((0x8a9136aau >> 15 | 0x8a9136aau << 17) + 0xa282ead8u));
  const std::string text = "a text that is longer than three steps of sixteen bytes, and then some";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    const std::string_view head = std::string_view(text).substr(0, cut), tail = std::string_view(text).substr(cut);
    CHECK(crc32(as_bytes(tail), crc32(as_bytes(head))) == crc32(as_bytes(text)));
    CHECK(crc32c(as_bytes(tail), crc32c(as_bytes(head))) == crc32c(as_bytes(text)));
  }
}
