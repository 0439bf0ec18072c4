// Element types against exhaustive bit patterns, shapes against their limits.
#include <cmath>
#include <cstring>

#include "catch.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/shape.h"

using namespace fovea;

TEST_CASE("every f16 survives the way through float") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    f16 h;
    h.bits = static_cast<std::uint16_t>(bits);
    const float value = static_cast<float>(h);
    const bool nan = (bits & 0x7c00) == 0x7c00 && (bits & 0x3ff) != 0;
    REQUIRE(std::isnan(value) == nan);
    if (!nan) REQUIRE(f16(value).bits == bits);
  }
  CHECK(std::isnan(static_cast<float>(f16(NAN))));
}

TEST_CASE("f16 rounds to nearest even") {
  // Between 1 and the next f16 (1 + 2^-10): the middle goes to the even one, just above it up.
  CHECK(static_cast<float>(f16(1.0f + 0x1p-11f)) == 1.0f);
  CHECK(static_cast<float>(f16(1.0f + 0x1p-11f + 0x1p-20f)) == 1.0f + 0x1p-10f);
  CHECK(static_cast<float>(f16(1.0f + 3 * 0x1p-11f)) == 1.0f + 0x1p-9f);
  CHECK(static_cast<float>(f16(65504.0f)) == 65504.0f);
  CHECK(static_cast<float>(f16(65519.0f)) == 65504.0f);
  CHECK(std::isinf(static_cast<float>(f16(65520.0f))));
  CHECK(static_cast<float>(f16(0x1p-24f)) == 0x1p-24f);
  CHECK(static_cast<float>(f16(0x1p-25f)) == 0.0f);
  CHECK(static_cast<float>(f16(0x1.8p-25f)) == 0x1p-24f);
  CHECK(std::signbit(static_cast<float>(f16(-0.0f))));
}

TEST_CASE("bf16 rounds to nearest even and keeps NaN") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    bf16 b;
    b.bits = static_cast<std::uint16_t>(bits);
    const float value = static_cast<float>(b);
    if (std::isnan(value)) {
      REQUIRE(std::isnan(static_cast<float>(bf16(value))));
    } else {
      REQUIRE(bf16(value).bits == bits);
    }
  }
  CHECK(static_cast<float>(bf16(1.0f + 0x1p-8f)) == 1.0f);
  CHECK(static_cast<float>(bf16(1.0f + 3 * 0x1p-8f)) == 1.0f + 0x1p-6f);
  CHECK(std::isinf(static_cast<float>(bf16(3.4e38f))));
}

TEST_CASE("a shape knows its extents and refuses impossible ones") {
  const Shape s{2, 224, 224, 3};
  CHECK(s.rank() == 4);
  CHECK(s.numel() == 2 * 224 * 224 * 3);
  CHECK(s.dim(-1) == 3);
  CHECK(s.to_string() == "2×224×224×3");
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{}.to_string() == "scalar");
  CHECK(Shape{3, 0, 5}.numel() == 0);
  CHECK(s.with_dim(0, 7) == Shape{7, 224, 224, 3});
  CHECK_FALSE(Shape{1} == Shape{1, 1});
  CHECK_THROWS_AS(s.dim(4), Error);
  CHECK_THROWS_AS(s.dim(-5), Error);
  CHECK_THROWS_AS((Shape{1, -1}), Error);
  CHECK_THROWS_AS((Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}), Error);
  const std::int64_t big = std::int64_t{1} << 32;
  CHECK_THROWS_AS((Shape{big, big}), Error);
  CHECK((Shape{big, big, 0}).numel() == 0);
}

TEST_CASE("an error says where, what and what to do") {
  try {
    throw Error(ErrorKind::shape, "conv2d", str("weights expect ", 32, " input channels, input has ", 3),
                "transpose it");
  } catch (const Error& e) {
    CHECK(std::string(e.what()) == "[conv2d] weights expect 32 input channels, input has 3 (transpose it)");
    CHECK(e.kind() == ErrorKind::shape);
    CHECK(e.where() == "conv2d");
  }
}
