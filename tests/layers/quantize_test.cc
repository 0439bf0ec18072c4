// Rounding to integers and back: values against the formula, and the gradients that rounding is given instead of its
// own, which is 0 almost everywhere.
#include <cmath>

#include "catch.h"
#include "core/autograd/tape.h"
#include "core/error.h"
#include "layers/ops.h"
#include "support.h"

using namespace fovea;

namespace {

/// Loss Σ r·fake_quantize(x), so that dy = r.
struct Gradients {
  Tensor y, dx, dscale;
};
Gradients gradients(const Tensor& x_in, const Tensor& scale_in, const Tensor& r, const QuantizeRange& range) {
  Tensor x = x_in.clone(), scale = scale_in.clone();
  x.set_requires_grad();
  scale.set_requires_grad();
  Tape tape;
  const Tensor y = fake_quantize(x, scale, range);
  tape.backward(sum(multiply(y, r)));
  return {y, x.grad(), scale.grad()};
}

}  // namespace

TEST_CASE("values are rounded to the nearest integer of the range, ties to even") {
  const Tensor x = Tensor::from<float>({10}, {-9, -0.75f, -0.25f, 0, 0.25f, 0.75f, 1.25f, 1.24f, 60, NAN});
  const Tensor y = fake_quantize(x, Tensor::from<float>({1}, {0.5f}), {.zero = 3, .low = 0, .high = 100});
  const std::vector<float> want{-1.5f, -1, 0, 0, 0, 1, 1, 1, 48.5f, -1.5f};
  CHECK(y.to_vector<float>() == want);
  // By channel.
  const Tensor z = fake_quantize(Tensor::from<float>({2, 2}, {0.4f, 0.4f, -3, -3}),
                                 Tensor::from<float>({2}, {0.25f, 1}), {.zero = 0, .low = -2, .high = 2});
  CHECK(z.to_vector<float>() == std::vector<float>{0.5f, 0, -0.5f, -2});
}

TEST_CASE("gradients pass straight through inside the range and stop outside") {
  const Tensor x = Tensor::from<double>({5}, {-1.0, -0.3, 0.1, 0.7, 9.0});
  const Tensor r = Tensor::from<double>({5}, {2, 3, 5, 7, 11}), scale = Tensor::from<double>({1}, {0.5});
  // Integers −1 to 4 around zero at 0: −1 is clamped, 9 too; −0.3 → −1, 0.1 → 0, 0.7 → 1.
  const Gradients g = gradients(x, scale, r, {.zero = 0, .low = -1, .high = 4});
  CHECK(g.dx.to_vector<double>() == std::vector<double>{0, 3, 5, 7, 0});
  const double want = 2 * -1.0 + 3 * (-1 + 0.6) + 5 * (0 - 0.2) + 7 * (1 - 1.4) + 11 * 4.0;
  CHECK(g.dscale.item() == Approx(want).epsilon(1e-12));
}

TEST_CASE("f32 and threads give the f64 result") {
  const Shape shape{40, 33, 31};
  Tensor x = test::random(shape, "x"), r = test::random(shape, "r"), scale(Shape{31}, DType::f64);
  for (std::int64_t c = 0; c < 31; ++c) scale.mutable_data<double>()[c] = 0.01 + 0.001 * static_cast<double>(c);
  const QuantizeRange range{.zero = 0, .low = -127, .high = 127};
  const Gradients exact = gradients(x, scale, r, range);
  const Gradients fast = gradients(x.to(DType::f32), scale.to(DType::f32), r.to(DType::f32), range);
  std::int64_t differ = 0;
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    // Near a tie the narrower type may round to the other side: one step.
    const double e = std::abs(exact.y.data<double>()[i] - static_cast<double>(fast.y.data<float>()[i]));
    CHECK(e < 1.001 * scale.data<double>()[i % 31]);
    differ += e > 1e-5 ? 1 : 0;
  }
  CHECK(differ < 20);
  for (std::int64_t c = 0; c < 31; ++c)
    CHECK(static_cast<double>(fast.dscale.data<float>()[c]) == Approx(exact.dscale.data<double>()[c]).margin(3));
}

TEST_CASE("ranges and scales that make no sense are refused") {
  const Tensor x = Tensor::zeros({2, 3}), one = Tensor::ones({1});
  CHECK_THROWS_AS(fake_quantize(x, Tensor::ones({2}), {}), Error);
  CHECK_THROWS_AS(fake_quantize(x, one, {.zero = 300, .low = 0, .high = 255}), Error);
  CHECK_THROWS_AS(fake_quantize(x, one, {.zero = 0, .low = 0, .high = 0}), Error);
}
