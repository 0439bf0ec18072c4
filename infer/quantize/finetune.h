// Quantisation-aware fine-tuning: a quantised network as a module that training can go on with.
//
//   auto module = std::make_shared<infer::QuantizedModule>(quantized);
//   Model trainable(module);
//   trainable.preprocessing = model.preprocessing;
//   Trainer(trainable, {.optimizer = AdamW{.lr = 1e-5f}, .epochs = 2}).fit(pictures);
//   infer::save(module->quantized(), "birds-int8.fovea");
#pragma once

#include <memory>

#include "infer/quantize/quantize.h"
#include "layers/module.h"

namespace fovea::infer {

/// Computes what QuantizedModel::simulate() does, recorded by the tape: weights of integer layers are parameters that
/// are rounded to their integers in each pass (gradients go straight through, Jacob et al. 2018), biases are
/// parameters, scales stay as calibration chose them, layers in f32 stay as they are.
class FOVEA_API QuantizedModule final : public Module {
 public:
  explicit QuantizedModule(const QuantizedModel& start);
  ~QuantizedModule() override;
  std::string_view kind() const override { return "Quantized"; }
  Tensor forward(const Tensor& x) override;
  /// The network with the weights as they are now; the report is that of the start.
  QuantizedModel quantized() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fovea::infer
