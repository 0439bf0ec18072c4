// What a training will take: forecasts of memory against real steps, and the batch size chosen by them.
#include "train/forecast.h"

#include <cstring>
#include <filesystem>

#include "catch.h"
#include "core/allocation_trace_internal.h"
#include "core/error.h"
#include "core/rng.h"
#include "models/zoo.h"
#include "tests/temp_folder.h"
#include "train/forecast_internal.h"
#include "train/trainer.h"

using namespace fovea;

namespace {

DatasetPtr noise_pictures(std::int64_t count, int side) {
  Tensor pictures(Shape{count, side, side, 3}, DType::u8);
  Rng rng(1, "pictures");
  std::uint8_t* p = pictures.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < pictures.numel(); ++i) *p++ = static_cast<std::uint8_t>(rng.below(256));
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < count; ++i) labels.push_back(i % 2);
  return std::make_shared<TensorDataset>(pictures, labels, std::vector<std::string>{"a", "b"});
}

std::vector<std::vector<double>> values(const Model& model) {
  std::vector<std::vector<double>> out;
  for (const NamedTensor& t : model.network().named_tensors()) out.push_back(t.tensor.to_vector<double>());
  return out;
}

struct Noting : TrainObserver {
  void on_note(std::string_view text) override { note = text; }
  void on_start(const TrainInfo& info) override { batch_size = info.batch_size; }
  std::string note;
  std::int64_t batch_size = 0;
};

}  // namespace

TEST_CASE("forecast: what small steps allocate tells large ones' allocations exactly") {
  const DatasetPtr data = noise_pictures(64, 64);
  for (const char* name : {"mobilenet_v2", "resnet18", "mobilenet_v3_small", "small_cnn"}) {
    for (const DType precision : {DType::f32, DType::bf16}) {
      const bool small = std::string(name) == "small_cnn";
      const Model model =
          models::create(name, {.classes = 2, .image_size = small ? 28 : 64, .channels = small ? 3 : 0, .seed = 1});
      TrainerOptions options;
      options.precision = precision;
      StepRehearsal rehearsal(model, *data, options);
      const auto trace = [&](std::int64_t size) {
        const Batch batch = rehearsal.noise(size);
        const AllocationTrace noting;
        rehearsal.pass(batch);
        rehearsal.drop_gradients();
        return noting.events();
      };
      trace(2);
      const auto two = trace(2), three = trace(3), real = trace(12);
      const auto told = extrapolate(two, 2, three, 3, 12);
      INFO(name << " " << real.size() << " events");
      REQUIRE(told.size() == real.size());
      std::int64_t wrong = 0;
      for (std::size_t i = 0; i < real.size(); ++i) wrong += std::abs(told[i].bytes - real[i].bytes);
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("forecast: the parts of a training's memory") {
  const DatasetPtr data = noise_pictures(64, 32);
  const Model model = models::create("mobilenet_v2", {.classes = 2, .image_size = 32, .seed = 3, .width = 0.35});
  const auto before = values(model);
  std::int64_t parameters = 0;
  for (const NamedTensor& t : model.network().parameters()) parameters += static_cast<std::int64_t>(t.tensor.nbytes());
  TrainerOptions options;
  options.optimizer = SGD{.momentum = 0};
  const MemoryForecast bare = MemoryForecaster(model, data, options).at(8);
  CHECK(bare.optimizer == 0);
  CHECK(bare.pictures == 0);  // they are in memory
  CHECK(bare.step > parameters);
  options.optimizer = AdamW{};
  const MemoryForecaster forecaster(model, data, options);
  CHECK(forecaster.at(8).optimizer == 2 * parameters);
  CHECK(forecaster.at(64).step > 1.5 * static_cast<double>(forecaster.at(32).step));
  CHECK(forecaster.at(64).step < 2 * forecaster.at(32).step);
  CHECK(values(model) == before);
  for (const NamedTensor& t : model.network().parameters()) CHECK_FALSE(t.tensor.grad().defined());

  options.privacy = PrivacyOptions{};
  CHECK_THROWS_AS(MemoryForecaster(model, data, options), Error);
}

TEST_CASE("batch size: the largest power of two that fits, with room to spare") {
  const DatasetPtr data = noise_pictures(400, 32);
  const Model model = models::create("mobilenet_v2", {.classes = 2, .image_size = 32, .seed = 3, .width = 0.35});
  TrainerOptions options;
  // Scratch is measured as it grows, once in a process: the second forecast is of what later ones see.
  (void)MemoryForecaster(model, data, options);
  const MemoryForecaster forecaster(model, data, options);
  const auto choose = [&](double available) {
    return choose_batch_size(model, data, options, nullptr, static_cast<std::int64_t>(available));
  };
  // Scratch is measured, and differs by pages from call to call.
  const double for_32 = static_cast<double>(forecaster.at(32).added()) / 0.85;
  CHECK(choose(for_32 * 1.15).batch_size == 32);
  CHECK(choose(for_32 * 0.85).batch_size == 16);
  const BatchChoice plenty = choose(1e12);
  CHECK(plenty.batch_size == 64);  // 100 pictures would be a quarter
  CHECK(plenty.reason.find("fewer than 4 steps") != plenty.reason.npos);
  CHECK(choose(for_32 * 1.15).reason.find("64 would need") != std::string::npos);
  CHECK_THROWS_AS(choose(1000), Error);
}

TEST_CASE("batch size: the trainer chooses it, says so, and resumes with the same") {
  const test::TempFolder folder(true);
  const DatasetPtr data = noise_pictures(48, 32);
  TrainerOptions options;
  Noting noting;
  options.observers = {&noting};
  options.batch_size = kAutoBatch;
  options.epochs = 1;
  options.checkpoint = folder / "checkpoint";
  const auto model = [] {
    return models::create("mobilenet_v2", {.classes = 2, .image_size = 32, .seed = 3, .width = 0.35});
  };
  Trainer(model(), options).fit(data);
  CHECK(noting.batch_size == 8);  // 12 pictures would be a quarter
  CHECK(noting.note.find("batch size 8: ") == 0);

  options.batch_size = 4;
  options.checkpoint = folder / "other";
  Trainer(model(), options).fit(data);
  options.batch_size = kAutoBatch;
  options.resume = true;
  Trainer(model(), options).fit(data);
  CHECK(noting.batch_size == 4);
  CHECK(noting.note.find("checkpoint") != noting.note.npos);

  options.privacy = PrivacyOptions{};
  CHECK_THROWS_AS(Trainer(model(), options), Error);
}

TEST_CASE("forecast: the time of an epoch is that of its steps, and the model stays as it is") {
  const DatasetPtr data = noise_pictures(40, 32);
  const Model model = models::create("mobilenet_v2", {.classes = 2, .image_size = 32, .seed = 3, .width = 0.35});
  const auto before = values(model);
  TrainerOptions options;
  options.batch_size = 8;
  const TimeForecast f = forecast_time(model, data, options, data);
  CHECK(f.batches == 5);
  CHECK(f.step_seconds > 0);
  CHECK(f.load_seconds > 0);
  CHECK(f.validation_seconds > 0);
  CHECK(f.epoch_seconds >= 5 * f.step_seconds + f.validation_seconds);
  CHECK(values(model) == before);
}
