// Augmentation on the GPU (and by the reference) against the CPU's workers: the same bits.
#include "kernels/pictures.h"
#include "augment/loader.h"
#include "cuda/both.h"
#include "models/zoo.h"
#include "train/trainer.h"

using namespace fovea;
using namespace fovea::test;

namespace {

DatasetPtr noisy_pictures(std::int64_t count, int height, int width, int channels) {
  Tensor pictures(Shape{count, height, width, channels}, DType::u8);
  Rng rng(1, "pictures");
  std::uint8_t* p = pictures.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < pictures.numel(); ++i) {
    // Smooth parts, noise, and grey pixels, where hue has special cases.
    const std::int64_t place = i / channels;
    p[i] = static_cast<std::uint8_t>(place % 7 == 0   ? 40 * (place % 5)
                                     : place % 3 == 0 ? rng.below(256)
                                                      : place * 3 + i);
  }
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < count; ++i) labels.push_back(i % 3);
  return std::make_shared<TensorDataset>(pictures, labels, std::vector<std::string>{"a", "b", "c"});
}

std::vector<Batch> batches(const DatasetPtr& data, LoaderOptions options, bool unfinished) {
  options.batch_size = 8;
  options.shuffle = true;
  options.seed = 5;
  options.unfinished = unfinished;
  Loader loader(data, options);
  std::vector<Batch> all;
  for (int epoch = 0; epoch < 2; ++epoch) {
    loader.start_epoch(epoch);
    for (Batch batch; loader.next(batch);) all.push_back(batch);
  }
  return all;
}

std::vector<float> floats(const Tensor& t) { return t.to(kCpu).to_vector<float>(); }

/// Every batch of two epochs: finished by workers, by the reference and on the GPU. Returns how many steps were left.
int same_batches(const DatasetPtr& data, const LoaderOptions& options) {
  const std::vector<Batch> expected = batches(data, options, false), left = batches(data, options, true);
  REQUIRE(expected.size() == left.size());
  int steps = 0;
  for (std::size_t i = 0; i < left.size(); ++i) {
    REQUIRE(left[i].unfinished);
    CHECK_FALSE(left[i].images.defined());
    CHECK(left[i].indices == expected[i].indices);
    const std::vector<float> wanted = floats(expected[i].images);
    CHECK(floats(images_on(left[i], kCpu)) == wanted);
    CHECK(floats(images_on(left[i], gpu())) == wanted);
    REQUIRE(left[i].soft_labels.defined() == expected[i].soft_labels.defined());
    if (expected[i].soft_labels.defined()) CHECK(floats(left[i].soft_labels) == floats(expected[i].soft_labels));
    steps += left[i].unfinished->per_picture;
  }
  return steps;
}

LoaderOptions input(int width, int height, int channels) {
  LoaderOptions options;
  image::Preprocessing& p = options.preprocessing;
  p.width = width;
  p.height = height;
  p.channels = channels;
  p.rule = image::ResizeRule::stretch;
  p.mean = {0.4f, 0.5f, 0.6f};
  p.std = {0.2f, 0.3f, 0.25f};
  return options;
}

}  // namespace

TEST_CASE("each change of pictures on the GPU is the CPU's, to the bit", "[gpu]") {
  FOVEA_NEEDS_GPU();
  namespace t = transforms;
  std::vector<std::pair<const char*, TransformPtr>> changes = {
      {"flip", t::horizontal_flip()},
      {"vertical flip", t::vertical_flip()},
      {"brightness", t::brightness(0.6)},
      {"contrast", t::contrast(0.9)},
      {"saturation", t::saturation(1.5)},
      {"hue", t::hue(0.5)},
      {"grayscale", t::grayscale(0.5)},
      {"quarter turns", t::one_of({t::rotation(0), t::affine({.degrees = 180})})},
      {"erasing", t::random_erasing({.probability = 0.8})},
      {"erasing with a colour", t::random_erasing({.fill = t::EraseFill::color, .color = {9, 200, 77}})},
      {"sometimes", t::maybe(0.5, t::one_of({t::hue(0.1), t::shift(3)}, {1, 2}))},
  };
  for (const Border border : {Border::constant, Border::edge, Border::reflect}) {
    changes.emplace_back("shift", t::shift(9, border, {1, 2, 3}));
    for (const bool bilinear : {false, true}) {
      changes.emplace_back("affine", t::affine({.degrees = 70,
                                                .translate = {0.3, 0.2},
                                                .scale = {0.4, 1.9},
                                                .shear = {20, 10},
                                                .warp = {bilinear, border, {250, 128, 3}}}));
    }
  }
  for (const int channels : {1, 3}) {
    for (const auto& [name, change] : changes) {
      INFO(name << ", " << channels << " channels");
      LoaderOptions options = input(23, 17, channels);
      options.transforms = {change};
      CHECK(change->plans());
      CHECK(same_batches(noisy_pictures(20, 17, 23, channels), options) > 0);
    }
  }
}

TEST_CASE("whole pipelines are finished on the GPU as by workers", "[gpu]") {
  FOVEA_NEEDS_GPU();
  namespace t = transforms;
  const TransformPtr jitter = t::color_jitter({.brightness = 0.4, .contrast = 0.4, .saturation = 0.4, .hue = 0.1});
  LoaderOptions options = input(24, 20, 3);
  options.preprocessing.order = image::ChannelOrder::bgr;
  options.transforms = {t::random_resized_crop({.width = 24, .height = 20}), t::horizontal_flip(), t::rotation(15),
                        jitter, t::random_erasing()};
  options.batch_transforms = {t::one_of({t::mixup(), t::cutmix()})};
  CHECK(same_batches(noisy_pictures(19, 31, 40, 3), options) > 10);
  // Blur stays with the workers, and what comes before it.
  options.transforms = {jitter, t::gaussian_blur(), t::horizontal_flip()};
  CHECK(same_batches(noisy_pictures(19, 31, 40, 3), options) <= 6);
  // Pictures whose size is not the network's after the crop are finished by workers: fitting them comes last.
  options.transforms = {t::random_crop({.width = 16, .height = 16}), t::horizontal_flip()};
  CHECK(same_batches(noisy_pictures(19, 31, 40, 3), options) == 0);
  // Nothing but the step to floats.
  options.transforms.clear();
  options.batch_transforms = {t::cutmix()};
  CHECK(same_batches(noisy_pictures(19, 31, 40, 3), options) == 0);
}

namespace {
class Custom final : public BatchTransform {
  void apply(Batch& batch, std::int64_t, Rng&) const override { CHECK(batch.images.defined()); }
  std::string name() const override { return "custom"; }
};
}  // namespace

TEST_CASE("a batch transform of one's own gets finished pictures") {
  LoaderOptions options = input(24, 20, 3);
  options.batch_transforms = {std::make_shared<Custom>()};
  for (const Batch& batch : batches(noisy_pictures(8, 20, 24, 3), options, true)) CHECK_FALSE(batch.unfinished);
}

TEST_CASE("changes of pictures that do not fit their batch are refused") {
  Tensor in = Tensor::zeros({2, 3, 4, 3}, DType::u8), out = in.clone();
  const std::vector<kernels::PixelStep> steps(3);
  CHECK_THROWS_WITH(kernels::change_pictures(steps, 1, in.view(), out.mutable_view()), Catch::Contains("3 steps"));
  const Tensor x = Tensor::zeros({2, 3, 4, 3});
  Tensor y = x.clone();
  CHECK_THROWS_WITH(kernels::mix_pictures({.partner = {0, 2}}, x.view(), y.mutable_view()),
                    Catch::Contains("partners of 2"));
}

TEST_CASE("the trainer leaves augmentation to the GPU, and learns the same", "[gpu]") {
  FOVEA_NEEDS_GPU();
  namespace t = transforms;
  const auto train = [](Device device) {
    Model model = models::create("small_cnn", {.classes = 3, .image_size = 12, .channels = 1, .seed = 2});
    model.to(device);
    TrainerOptions options;
    options.optimizer = SGD{.lr = 0.01};
    options.epochs = 1;
    options.batch_size = 16;
    options.transforms = {t::shift(2), t::rotation(10), t::contrast(0.5)};
    options.batch_transforms = {t::mixup()};
    Trainer trainer(model, options);
    return trainer.fit(noisy_pictures(48, 28, 28, 1)).epochs.back().train_loss;
  };
  const double here = train(kCpu);
#ifdef FOVEA_CUDA_DOUBLE
  const std::int64_t before = cuda_double::copied_bytes();
#endif
  CHECK(train(gpu()) == Approx(here).epsilon(1e-4));
#ifdef FOVEA_CUDA_DOUBLE
  // Weights once, and pictures in bytes: as floats they alone would be more.
  Model model = models::create("small_cnn", {.classes = 3});
  std::int64_t weights = 0;
  for (const NamedTensor& tensor : model.network().named_tensors())
    weights += static_cast<std::int64_t>(tensor.tensor.nbytes());
  CHECK(cuda_double::copied_bytes() - before < weights + 48 * 28 * 28 * 2 + 30000);
#endif
}
