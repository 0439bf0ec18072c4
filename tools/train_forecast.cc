#include "tools/train_forecast.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/available_memory.h"
#include "core/error.h"
#include "core/threads/parallel.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "train/forecast.h"

namespace fovea::tools {
namespace {

std::string megabytes(std::int64_t bytes) { return str(number(static_cast<double>(bytes) / (1 << 20), "%.0f"), " MB"); }

}  // namespace

void choose_batch(TrainOptions& o, TrainerOptions& trainer, const TrainData& data, const Model& model) {
  if (!o.auto_batch) return;
  TrainerOptions asked = trainer;
  asked.checkpoint =
      o.resume && !o.out.empty() ? (std::filesystem::path(o.out) / "checkpoint.safetensors").string() : "";
  asked.resume = !asked.checkpoint.empty();
  const BatchChoice choice = choose_batch_size(model, data.train, asked, data.val);
  o.batch_size = static_cast<int>(choice.batch_size);
  o.batch_reason = choice.reason;
  trainer.batch_size = choice.batch_size;
  if (!o.common.quiet) std::fprintf(stderr, "batch size %s\n", choice.reason.c_str());
}

int dry_run(const TrainOptions& o, const TrainerOptions& trainer, const TrainData& data, const Model& model) {
  MemoryForecast memory;
  {
    const MemoryForecaster forecaster(model, data.train, trainer, data.val);
    memory = forecaster.at(std::min(trainer.batch_size, data.train->size()));
  }
  const std::int64_t available = available_memory();
  const bool fits = available == 0 || memory.added() < available;
  // A step that does not fit would end this process, or the machine.
  const TimeForecast time = fits ? forecast_time(model, data.train, trainer, data.val) : TimeForecast{};
  const double all = time.first_epoch_seconds + (trainer.epochs - 1) * time.epoch_seconds;
  if (o.common.json) {
    nlohmann::ordered_json json{{"batch_size", memory.batch_size},
                                {"memory_bytes", memory.total()},
                                {"memory",
                                 {{"process", memory.process},
                                  {"step", memory.step},
                                  {"optimizer", memory.optimizer},
                                  {"pictures", memory.pictures},
                                  {"scratch", memory.scratch}}},
                                {"available_bytes", available},
                                {"fits", fits}};
    if (fits) {
      json["step_seconds"] = time.step_seconds;
      json["load_seconds"] = time.load_seconds;
      json["reload_seconds"] = time.reload_seconds;
      json["first_epoch_seconds"] = time.first_epoch_seconds;
      json["epoch_seconds"] = time.epoch_seconds;
      json["training_seconds"] = all;
      json["epochs"] = trainer.epochs;
    }
    std::printf("%s\n", json.dump().c_str());
    return 0;
  }
  std::printf("memory at its highest: %s, with %lld pictures a step\n", megabytes(memory.total()).c_str(),
              static_cast<long long>(memory.batch_size));
  std::printf("  program and network %s, maps and gradients %s, optimizer %s, decoded pictures %s, scratch %s\n",
              megabytes(memory.process).c_str(), megabytes(memory.step).c_str(), megabytes(memory.optimizer).c_str(),
              megabytes(memory.pictures).c_str(), megabytes(memory.scratch).c_str());
  if (available > 0)
    std::printf("  available: %s%s\n", megabytes(available).c_str(),
                fits ? "" : ", which is not enough: use --batch-size auto or --checkpoint-blocks");
  if (!fits) return 0;
  std::printf("time per epoch: %s (the first %s); %d epochs %s\n", format_duration(time.epoch_seconds).c_str(),
              format_duration(time.first_epoch_seconds).c_str(), trainer.epochs, format_duration(all).c_str());
  std::printf("  %lld steps of %s ms; loading a step's pictures %s ms, %s ms once decoded; validation %s\n",
              static_cast<long long>(time.batches), number(time.step_seconds * 1e3, "%.1f").c_str(),
              number(time.load_seconds * 1e3, "%.1f").c_str(), number(time.reload_seconds * 1e3, "%.1f").c_str(),
              format_duration(time.validation_seconds).c_str());
  if (!o.weights.empty()) std::printf("  and the linear probe before the first epoch\n");
  return 0;
}

}  // namespace fovea::tools
