// Exponential moving average of weights.
#include "train/ema.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/optimizer.h"

namespace fovea {
WeightAverage::WeightAverage(std::vector<NamedTensor> tensors, const EmaOptions& options)
    : live_(std::move(tensors)), options_(options) {
  if (!(options.decay >= 0 && options.decay < 1)) {
    throw Error(ErrorKind::usage, "ema", str("the decay is ", options.decay),
                "it must be in [0, 1), usually 0.99 to 0.9999");
  }
  for (const NamedTensor& t : live_) average_.push_back(t.tensor.clone());
}

void WeightAverage::update() {
  ++updates_;
  const auto t = static_cast<double>(updates_);
  const double decay = options_.warmup ? std::min(options_.decay, (1 + t) / (10 + t)) : options_.decay;
  std::vector<kernels::Update> updates;
  for (std::size_t i = 0; i < live_.size(); ++i) {
    const Tensor& from = live_[i].tensor;
    if (from.dtype() == DType::f32 || from.dtype() == DType::f64) {
      updates.push_back({kernels::UpdateKind::lerp, decay, from.view(), average_[i].mutable_view()});
    } else if (from.numel() > 0) {
      average_[i].copy_from(from);
    }
  }
  kernels::update_all(updates);
}

void WeightAverage::swap() {
  for (std::size_t i = 0; i < live_.size(); ++i) {
    const Tensor keep = live_[i].tensor.clone();
    live_[i].tensor.copy_from(average_[i]);
    average_[i].copy_from(keep);
  }
}

std::vector<NamedTensor> WeightAverage::averages() const {
  std::vector<NamedTensor> out = live_;
  for (std::size_t i = 0; i < out.size(); ++i) out[i].tensor = average_[i];
  return out;
}

void WeightAverage::load(const std::vector<NamedTensor>& averages, std::int64_t updates) {
  if (averages.size() != live_.size() || updates < 0) {
    throw Error(ErrorKind::format, "ema",
                str("there are ", averages.size(), " averages for ", live_.size(), " tensors"));
  }
  std::vector<Tensor> fresh;
  for (const NamedTensor& t : live_) {
    const auto at =
        std::find_if(averages.begin(), averages.end(), [&](const NamedTensor& a) { return a.name == t.name; });
    if (at == averages.end()) throw Error(ErrorKind::format, "ema", str("the average of ", t.name, " is missing"));
    if (at->tensor.spec() != t.tensor.spec()) {
      throw Error(
          ErrorKind::format, "ema",
          str("the average of ", t.name, " is ", at->tensor.to_string(), ", the tensor ", t.tensor.to_string()));
    }
    fresh.push_back(at->tensor.to(t.tensor.device()).clone());
  }
  average_ = std::move(fresh);
  updates_ = updates;
}

}  // namespace fovea
