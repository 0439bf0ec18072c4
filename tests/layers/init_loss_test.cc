// Initialisers against the definitions of Keras and PyTorch, losses against numbers worked out by hand.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "catch.h"
#include "core/autograd/tape.h"
#include "layers/modules.h"
#include "layers/ops.h"
#include "support.h"

using namespace fovea;
using namespace fovea::test;

namespace {

struct Moments {
  double mean = 0, variance = 0, low = INFINITY, high = -INFINITY;
};

Moments moments(const std::vector<double>& values) {
  Moments m;
  for (const double v : values) {
    m.mean += v / static_cast<double>(values.size());
    m.low = std::min(m.low, v);
    m.high = std::max(m.high, v);
  }
  for (const double v : values) m.variance += (v - m.mean) * (v - m.mean) / static_cast<double>(values.size());
  return m;
}

/// Mean and variance within five standard errors (a kurtosis of at most 3), and values reach, but never pass, what
/// they are cut at.
void check_draw(const Initializer& init, const Shape& shape, int groups, double mean, double variance, double low,
                double high) {
  Initializer grouped = init;
  grouped.groups = groups;
  Tensor t(shape, DType::f64);
  initialize(t, grouped, Rng(3, "draw"));
  const Moments m = moments(t.to_vector<double>());
  const double n = static_cast<double>(t.numel());
  CAPTURE(shape.to_string(), groups, m.mean, m.variance, variance, m.low, m.high);
  CHECK(std::fabs(m.mean - mean) <= 5 * std::sqrt(variance / n));
  CHECK(std::fabs(m.variance / variance - 1) <= 5 * std::sqrt(2 / n));
  if (!std::isfinite(high)) return;
  CHECK(m.low >= low);
  CHECK(m.high <= high);
  CHECK(m.low < low + 0.03 * (high - low));
  CHECK(m.high > high - 0.03 * (high - low));
  const std::vector<double> values = t.to_vector<double>();
  CHECK(std::set<double>(values.begin(), values.end()).size() == values.size());  // cut, not clamped
}

void check_uniform(const Initializer& init, const Shape& shape, int groups, double bound) {
  check_draw(init, shape, groups, 0, bound * bound / 3, -bound, bound);
}
/// Keras: a normal of deviation s/0.87962566103423978 cut at two of its deviations, so that s is what remains.
void check_cut(const Initializer& init, const Shape& shape, int groups, double variance) {
  const double edge = 2 * std::sqrt(variance) / 0.87962566103423978;
  check_draw(init, shape, groups, 0, variance, -edge, edge);
}
void check_normal(const Initializer& init, const Shape& shape, int groups, double variance) {
  check_draw(init, shape, groups, 0, variance, -INFINITY, INFINITY);
}

const Shape kDense{300, 200}, kConv{3, 3, 16, 64}, kGrouped{3, 3, 8, 128}, kDepthwise{5, 5, 1, 1024};
constexpr int kChannels = 512;  // of kDepthwise, two results each

double loss_of(const Tensor& t) { return t.item(); }

const Tensor kLogits = Tensor::from<double>({4, 3}, {1, 2, 0.5, 0, -1, 3, 2, 2, 2, -1, 0.25, 1.5});
const Tensor kLabels = Tensor::from<std::int64_t>({4}, {1, 2, 0, 0});
const Tensor kWeights = Tensor::from<double>({3}, {0.5, 2, 1.25});
const Tensor kSoft = Tensor::from<double>({4, 3}, {0.2, 0.5, 0.3, 0, 0, 1, 1.0 / 3, 1.0 / 3, 1.0 / 3, 0.75, 0.25, 0});
constexpr auto kNone = LossReduction::none;
constexpr auto kSum = LossReduction::sum;

void check_each(const Tensor& have, const std::vector<double>& want) {
  const std::vector<double> values = have.to_vector<double>();
  REQUIRE(values.size() == want.size());
  for (std::size_t i = 0; i < want.size(); ++i) CHECK(values[i] == Approx(want[i]).epsilon(1e-12));
}

}  // namespace

TEST_CASE("Keras' initialisers have Keras' variances, bounds and fans") {
  using namespace init::keras;
  // glorot: 2/(in + out); he: 2/in; lecun: 1/in. Uniform bound √(3·variance).
  check_uniform(glorot_uniform(), kDense, 1, std::sqrt(6.0 / 500));
  check_cut(glorot_normal(), kDense, 1, 2.0 / 500);
  check_uniform(he_uniform(), kDense, 1, std::sqrt(6.0 / 300));
  check_cut(he_normal(), kDense, 1, 2.0 / 300);
  check_uniform(lecun_uniform(), kDense, 1, std::sqrt(3.0 / 300));
  check_cut(lecun_normal(), kDense, 1, 1.0 / 300);
  check_uniform(glorot_uniform(), kConv, 1, std::sqrt(6.0 / (9 * 16 + 9 * 64)));
  check_cut(he_normal(), kConv, 1, 2.0 / (9 * 16));
  check_cut(he_normal(), kGrouped, 2, 2.0 / (9 * 8));
  // A depthwise kernel is [5, 5, 512, 2] there: 25·512 in, 25·2 out.
  check_cut(he_normal(), kDepthwise, kChannels, 2.0 / (25 * 512));
  check_uniform(glorot_uniform(), kDepthwise, kChannels, std::sqrt(6.0 / (25 * 512 + 25 * 2)));
  // TruncatedNormal states the deviation before the cut.
  const double kept = 0.87962566103423978;
  check_draw(truncated_normal(0.3, 0.05), kDense, 1, 0.3, std::pow(0.05 * kept, 2), 0.2, 0.4);
}

TEST_CASE("PyTorch's initialisers have PyTorch's variances, bounds and fans") {
  using namespace init::pytorch;
  check_uniform(kaiming_uniform(), kDense, 1, 1 / std::sqrt(300.0));  // nn.Linear's start
  check_uniform(kaiming_uniform(0), kConv, 1, std::sqrt(6.0 / (9 * 16)));
  check_uniform(kaiming_uniform(), kConv, 1, 1 / std::sqrt(9.0 * 16));
  check_normal(kaiming_normal(), kConv, 1, 2.0 / (9 * 16));
  check_normal(kaiming_normal(0, Initializer::Fan::out), kConv, 1, 2.0 / (9 * 64));
  check_normal(kaiming_normal(0.2), kGrouped, 2, 2.0 / (1.04 * 9 * 8));
  // Weights [1024, 1, 5, 5] there: 25 in, 25·1024 out.
  check_uniform(kaiming_uniform(), kDepthwise, kChannels, 1.0 / 5);
  check_normal(kaiming_normal(0, Initializer::Fan::out), kDepthwise, kChannels, 2.0 / (25 * 1024));
  check_uniform(xavier_uniform(), kDense, 1, std::sqrt(6.0 / 500));
  check_uniform(xavier_uniform(5.0 / 3), kDense, 1, 5.0 / 3 * std::sqrt(6.0 / 500));
  check_normal(xavier_normal(2), kConv, 1, 4 * 2.0 / (9 * 16 + 9 * 64));
  check_draw(trunc_normal(), kDense, 1, 0, 0.7737413035, -2, 2);
  // Cut unevenly at a = −0.5 and b = 2.5 deviations: the moments of a doubly truncated normal.
  const auto density = [](double z) { return std::exp(-z * z / 2) / std::sqrt(2 * 3.14159265358979324); };
  const auto below = [](double z) { return std::erfc(-z / std::sqrt(2.0)) / 2; };
  const double a = -0.5, b = 2.5, mass = below(b) - below(a), shift = (density(a) - density(b)) / mass;
  const double variance = 0.04 * (1 + (a * density(a) - b * density(b)) / mass - shift * shift);
  check_draw(trunc_normal(0.5, 0.2, 0.4, 1), kDense, 1, 0.5 + 0.2 * shift, variance, 0.4, 1);
}

TEST_CASE("plain initialisers, element types and errors") {
  check_draw(init::uniform(-1, 3), kDense, 1, 1, 16.0 / 12, -1, 3);
  check_draw(init::normal(2, 0.5), kDense, 1, 2, 0.25, -INFINITY, INFINITY);
  Tensor t({7});
  initialize(t, init::constant(0.25), Rng(1));
  CHECK(t.to_vector<double>() == std::vector<double>(7, 0.25));
  // The same numbers for every type, rounded.
  Tensor f64({50}, DType::f64), f32({50}), bf16({50}, DType::bf16);
  for (Tensor* each : {&f64, &f32, &bf16}) initialize(*each, init::keras::he_normal(), Rng(8, "w"));
  CHECK(same_bits(f32, f64.to(DType::f32)));
  CHECK(same_bits(bf16, f64.to(DType::bf16)));
  Tensor ints({3}, DType::i32);
  CHECK_THROWS_AS(initialize(ints, init::ones(), Rng(1)), Error);
  // A cut that leaves nothing would draw for ever.
  CHECK_THROWS_AS(initialize(t, init::pytorch::trunc_normal(0, 1, 50, 60), Rng(1)), Error);
  CHECK_THROWS_AS(initialize(t, init::pytorch::trunc_normal(0, 0, -1, 1), Rng(1)), Error);
  CHECK_THROWS_AS(initialize(t, init::pytorch::trunc_normal(0, 1, 1, -1), Rng(1)), Error);
}

TEST_CASE("modules start as PyTorch's do, and as asked") {
  const auto largest = [](const Module& m, const char* name) {
    const Moments of = moments(m.tensor(name).to_vector<double>());
    return std::max(-of.low, of.high);
  };
  const auto bounded = [&](const Module& m, const char* name, double bound) {
    CAPTURE(m.kind(), name, largest(m, name), bound);
    CHECK(largest(m, name) <= bound);
    CHECK(largest(m, name) > 0.9 * bound);
  };
  bounded(Conv2d(16, 64, {.kernel = 3}), "weight", 1.0 / 12);
  bounded(Conv2d(16, 64, {.kernel = 3}), "bias", 1.0 / 12);
  bounded(DepthwiseConv2d(64, {.kernel = {3, 3}}), "weight", 1.0 / 3);
  bounded(DepthwiseConv2d(64, {.kernel = {3, 3}}), "bias", 1.0 / 3);
  bounded(Dense(100, 64), "weight", 0.1);
  bounded(Dense(100, 64), "bias", 0.1);
  // nn.ConvTranspose2d: weights [in, out/groups, kh, kw], whose fan_in is out/groups·kh·kw.
  bounded(ConvTranspose2d(8, 64, {.kernel = 3, .groups = 4}), "weight", 1.0 / 12);
  bounded(ConvTranspose2d(8, 64, {.kernel = 3, .groups = 4}), "bias", 1.0 / 12);
  const Dense asked(9, 9, {.weight_init = init::constant(2), .bias_init = init::zeros()});
  CHECK(asked.tensor("weight").to_vector<double>() == std::vector<double>(81, 2.0));
  CHECK(asked.tensor("bias").to_vector<double>() == std::vector<double>(9, 0.0));
}

TEST_CASE("cross-entropy by hand: indices, weights, smoothing, ignored rows") {
  check_each(cross_entropy(kLogits, kLabels, {.reduction = kNone}),
             {0.4643687841079449, 0.06588390375742911, 1.0986122886681098, 2.813780863337258});  // the third is ln 3
  CHECK(loss_of(cross_entropy(kLogits, kLabels)) == Approx(1.1106614599676856).epsilon(1e-12));
  CHECK(loss_of(cross_entropy(kLogits, kLabels, {.reduction = kSum})) == Approx(4.4426458398707425).epsilon(1e-12));
  CHECK(loss_of(cross_entropy(kLogits, kLabels.to(DType::i32))) == Approx(1.1106614599676856).epsilon(1e-12));
  check_each(cross_entropy(kLogits, kLabels, {.label_smoothing = 0.1, .reduction = kNone}),
             {0.5477021174412783, 0.2992172370907625, 1.0986122886681098, 2.688780863337258});
  // Weighted: the mean divides by 2 + 1.25 + 0.5 + 0.5.
  CHECK(loss_of(cross_entropy(kLogits, kLabels, {.class_weights = kWeights})) ==
        Approx(0.6981856526859671).epsilon(1e-12));
  // Smoothing under weights: each class' share has its own weight, the divisor stays.
  CHECK(loss_of(cross_entropy(kLogits, kLabels, {.label_smoothing = 0.1, .class_weights = kWeights})) ==
        Approx(0.8080527493743531).epsilon(1e-12));
  CHECK(loss_of(cross_entropy(kLogits, kLabels, {.ignore_index = 2})) == Approx(1.4589206453711043).epsilon(1e-12));
  CHECK(loss_of(cross_entropy(kLogits, kLabels, {.class_weights = kWeights, .ignore_index = 2})) ==
        Approx(0.9616447147395246).epsilon(1e-12));
  // Nothing counts: 0, not 0/0.
  const Tensor ignored = Tensor::from<std::int64_t>({4}, {7, 7, 7, 7});
  CHECK(loss_of(cross_entropy(kLogits, ignored, {.ignore_index = 7})) == 0);

  Tensor z = kLogits.clone();
  z.set_requires_grad();
  Tape tape;
  tape.backward(cross_entropy(z, kLabels, {.ignore_index = 2}));
  const std::vector<double> g = z.grad().to_vector<double>();  // (softmax − one-hot)/3 rows that count
  const double row0[] = {0.05780597440553726, -0.09286707019705939, 0.03506109579152212};
  for (std::size_t j = 0; j < 3; ++j) {
    CHECK(g[j] == Approx(row0[j] * 4 / 3).epsilon(1e-12));
    CHECK(g[3 + j] == 0);
  }
}

TEST_CASE("cross-entropy by hand: distributions") {
  check_each(cross_entropy(kLogits, kSoft, {.reduction = kNone}),
             {1.114368784107945, 0.06588390375742911, 1.0986122886681096, 2.501280863337258});
  CHECK(loss_of(cross_entropy(kLogits, kSoft)) == Approx(1.1950364599676855).epsilon(1e-12));
  CHECK(loss_of(cross_entropy(kLogits, kSoft, {.label_smoothing = 0.1})) == Approx(1.234515626634352).epsilon(1e-12));
  CHECK(loss_of(cross_entropy(kLogits, kSoft, {.class_weights = kWeights})) ==
        Approx(1.1600306131278109).epsilon(1e-12));
  // A mixed-up label of two classes is the mixture of their losses.
  const auto mixed = [](double a) { return Tensor::from<double>({1, 3}, {a, 0, 1 - a}); };
  const Tensor row = Tensor::from<double>({1, 3}, {0.4, -2, 1});
  const double one = loss_of(cross_entropy(row, mixed(1))), other = loss_of(cross_entropy(row, mixed(0)));
  CHECK(loss_of(cross_entropy(row, mixed(0.3))) == Approx(0.3 * one + 0.7 * other).epsilon(1e-12));
}

TEST_CASE("binary cross-entropy, focal losses and squared error by hand") {
  const Tensor z = Tensor::from<double>({2, 3}, {-2, 0, 3, 0.5, -0.25, 1}),
               y = Tensor::from<double>({2, 3}, {0, 1, 1, 0.3, 0, 1}),
               positive = Tensor::from<double>({3}, {1, 2, 0.5});
  check_each(binary_cross_entropy(z, y, {.reduction = kNone}),
             {0.12692801104297252, 0.6931471805599453, 0.04858735157374191, 0.8240769841801067, 0.5759394198788437,
              0.3132616875182228});
  CHECK(loss_of(binary_cross_entropy(z, y)) == Approx(0.4303234391256388).epsilon(1e-12));
  CHECK(loss_of(binary_cross_entropy(z, y, {.reduction = kSum})) == Approx(6 * 0.4303234391256388).epsilon(1e-12));
  CHECK(loss_of(binary_cross_entropy(z, y, {.pos_weight = positive})) == Approx(0.5156938826279659).epsilon(1e-12));
  check_each(sigmoid_focal_loss(z, y, {.reduction = kNone}),
             {0.0013526721264302821, 0.04332169878499658, 2.732083112424913e-05, 0.14901774472877433,
              0.08280111844864138, 0.0056645143771168315});
  CHECK(loss_of(sigmoid_focal_loss(z, y, {.gamma = 1.5, .alpha = -1})) == Approx(0.13275555862632368).epsilon(1e-12));

  check_each(focal_loss(kLogits, kLabels, {.reduction = kNone}),
             {0.06407763723874041, 0.0002678440761095295, 0.4882721282969378, 2.486374232972857});
  CHECK(loss_of(focal_loss(kLogits, kLabels)) == Approx(0.7597479606461612).epsilon(1e-12));
  CHECK(loss_of(focal_loss(kLogits, kLabels, {.class_weights = kWeights})) ==
        Approx(0.3801913553429448).epsilon(1e-12));
  CHECK(loss_of(focal_loss(kLogits, kLabels, {.gamma = 0})) == Approx(1.1106614599676856).epsilon(1e-12));

  const Tensor a = Tensor::from<double>({2, 2}, {1, 2, 3, 4}), b = Tensor::from<double>({2, 2}, {1, 0, 3.5, 7});
  check_each(mean_squared_error(a, b, kNone), {0, 4, 0.25, 9});
  CHECK(mean_squared_error(a, b).item() == Approx(13.25 / 4));
  CHECK(mean_squared_error(a, b, kSum).item() == Approx(13.25));
}

TEST_CASE("losses stay finite far out, in f32 too") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    Tensor z = Tensor::from<double>({3, 2}, {1e4, -1e4, -1e4, 1e4, 80, 80}).to(dtype).clone();
    z.set_requires_grad();
    const Tensor labels = Tensor::from<std::int64_t>({3}, {0, 0, 1});
    Tape tape;
    const Tensor loss = cross_entropy(z, labels, {.reduction = kSum});
    CHECK(loss.item() == Approx(2e4 + std::log(2.0)));
    tape.backward(loss);
    const std::vector<double> want{0, 0, -1, 1, 0.5, -0.5}, have = z.grad().to_vector<double>();
    for (std::size_t i = 0; i < 6; ++i) CHECK(have[i] == Approx(want[i]).margin(1e-7));
    const Tensor far = Tensor::from<double>({4}, {200, -200, 200, -200}).to(dtype),
                 truth = Tensor::from<double>({4}, {1, 1, 0, 0}).to(dtype);
    const std::vector<double> each = binary_cross_entropy(far, truth, {.reduction = kNone}).to_vector<double>();
    for (std::size_t i = 0; i < 4; ++i) CHECK(each[i] == Approx(i == 1 || i == 2 ? 200.0 : 0.0).margin(1e-80));
    for (const double v : sigmoid_focal_loss(far, truth, {.reduction = kNone}).to_vector<double>())
      CHECK(std::isfinite(v));
    for (const double v : focal_loss(z, labels, {.gamma = 0.5, .reduction = kNone}).to_vector<double>())
      CHECK(std::isfinite(v));
  }
}

TEST_CASE("losses name what is wrong with labels and shapes") {
  const auto told = [](auto call) {
    try {
      call();
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  for (const std::int64_t bad : {std::int64_t{3}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::max()}) {
    const std::string text = told([&] { cross_entropy(kLogits, Tensor::from<std::int64_t>({4}, {0, 1, bad, 2})); });
    CAPTURE(text);
    CHECK(text.find(str("label ", bad, " of row 2")) != std::string::npos);
  }
  CHECK(told([] { cross_entropy(kLogits, Tensor::zeros({3}, DType::i64)); }).find("[cross_entropy]") == 0);
  CHECK(told([] { cross_entropy(kLogits, Tensor::zeros({4, 2}, DType::f64)); }).find("[cross_entropy]") == 0);
  CHECK(told([] { cross_entropy(kLogits, kLabels, {.label_smoothing = 1.5}); }).find("label_smoothing") !=
        std::string::npos);
  CHECK(told([] {
          cross_entropy(kLogits, kLabels, {.class_weights = Tensor::ones({2}, DType::f64)});
        }).find("class weights") != std::string::npos);
  CHECK(told([] { focal_loss(kLogits, kSoft); }).find("[focal]") == 0);
  CHECK(told([] { focal_loss(kLogits, kLabels, {.gamma = -1}); }).find("gamma") != std::string::npos);
  CHECK(told([] { mean_squared_error(kLogits, kWeights); }).find("differ in shape") != std::string::npos);
  CHECK(told([] { binary_cross_entropy(kLogits, kWeights); }).find("differ in shape") != std::string::npos);
}
