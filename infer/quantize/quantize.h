// Post-training quantisation: from a model and a few pictures to a network whose convolutions multiply 8-bit integers.
//
//   std::vector<Tensor> pictures = …;                       // batches, prepared as the model wants them
//   const infer::QuantizedModel q = infer::quantize(model, pictures);
//   puts(q.report().to_string().c_str());
//
// Activations become u8 by tensor (real = scale·(q − zero)), weights i8 by result channel (real = scale·q). The scheme
// is that of Jacob et al. 2018; equalisation and bias correction are after Nagel et al. 2019.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "infer/graph/network.h"
#include "infer/quantize/histogram.h"
#include "models/model.h"

namespace fovea::infer {

struct NetworkFile;

/// How the scale of a result channel's weights is chosen.
enum class WeightScale : std::uint8_t {
  max,  ///< the largest weight becomes 127
  mse,  ///< the least mean squared error; larger weights are clipped
};

struct QuantizeOptions {
  Observer observer = Observer::mse;
  double percentile = 99.99;
  WeightScale weight_scale = WeightScale::mse;
  /// Channels of a value that one layer reads are brought to like ranges, where this does not change the network. With
  /// a scale for each channel's weights it gains little (docs/quantization.md), so it has to be asked for.
  bool equalize = false;
  /// Rounds weights for the least error of the layer's results on the calibration pictures instead of to the nearest.
  bool round_by_results = true;
  /// Takes the mean error of each result channel on the calibration pictures into the bias.
  bool correct_bias = true;
  /// What share of pictures may be expected to be answered rightly by f32 and no longer: by the f32 network's own
  /// probabilities, and the errors of the logits on a quarter of the pictures, which nothing is fitted to. Layers go
  /// back to f32, the one that gains most for its time first, until it is no more, and where one gains much for little
  /// time. 1: all layers that can be are quantised.
  double most_loss = 0.01;
  /// Fills alone_db and result_db of the report, which takes as long as all the rest.
  bool measure_layers = true;
  /// Names of layers that are to stay f32 whatever they gain.
  std::vector<std::string> keep_f32;
};

/// What became of one layer.
struct QuantizedLayer {
  std::string name;  ///< path of the module: "block_1.expand.conv"
  std::string kind;  ///< "conv2d", "depthwise", "dense"
  bool quantized = false;
  std::string reason;     ///< why it stays f32; empty where it does not
  std::int64_t macs = 0;  ///< of one picture
  double weight_db = 0;   ///< its weights against their integers
  double alone_db = 0;    ///< the logits with only this layer quantised
  double result_db = 0;   ///< its result with everything quantised
};

/// How two networks' logits agree on the same pictures.
struct Agreement {
  std::int64_t pictures = 0;
  double top1 = 0;    ///< share of pictures with the same best class
  double top5 = 0;    ///< share of pictures whose best class in f32 is among the best five of the other
  double cosine = 0;  ///< mean over pictures
  double db = 0;      ///< signal-to-noise ratio of all logits
};
/// Logits [N, classes] of both; Error{shape} unless they have one shape.
FOVEA_API Agreement agreement(const Tensor& f32, const Tensor& other);
/// 10·log10(Σ a² / Σ (a − b)²); 200 where they are equal.
FOVEA_API double signal_to_noise(const Tensor& a, const Tensor& b);

struct QuantizeReport {
  std::vector<QuantizedLayer> layers;
  std::int64_t pictures = 0;             ///< seen by calibration
  Agreement held_out;                    ///< on those that were only judged by
  double expected_loss = 0;              ///< see QuantizeOptions::most_loss
  double all_integer_loss = 0;           ///< the same before any layer went back to f32
  std::size_t f32_bytes = 0, bytes = 0;  ///< of weights, scales and biases
  int equalized = 0;                     ///< values whose channels were brought to like ranges
};

/// A quantised network before it is packed for a CPU. Copies share it.
class FOVEA_API QuantizedModel {
 public:
  QuantizedModel(std::shared_ptr<const NetworkFile> file, QuantizeReport report);
  /// What answers, packed for this CPU. `dtype`: f32 or bf16, for the layers that are not in integers. Where the CPU
  /// has no fast products of integers, it computes with the rounded weights in `dtype`.
  Network network(DType dtype = DType::f32) const;
  /// The logits of images f32 [N,H,W,C] as integer kernels give them, computed in f32 with every quantised value
  /// rounded to its integer: slow, and the reference of the kernels.
  Tensor simulate(const Tensor& x) const;
  const QuantizeReport& report() const { return report_; }
  /// Internal: the graph, and what belongs to it.
  const NetworkFile& file() const { return *file_; }

 private:
  std::shared_ptr<const NetworkFile> file_;
  QuantizeReport report_;
};

/// Writes a compiled network, atomically; infer::load() reads it.
FOVEA_API void save(const QuantizedModel& model, const std::string& path);

/// `pictures`: batches f32 [N,H,W,C], all of one height and width; 64 to 512 pictures like those to come are enough.
/// Error{usage} without pictures or for networks that are not compiled; Error{numeric} where the network gives NaN.
FOVEA_API QuantizedModel quantize(const Model& model, std::span<const Tensor> pictures,
                                  const QuantizeOptions& options = {});
/// Calibrated on seeded noise, every layer in integers, weights to the nearest: for timing, and for weights that are
/// noise themselves. What a trained network then answers to photographs is anyone's guess.
FOVEA_API QuantizedModel quantize_on_noise(const Model& model, std::uint64_t seed = 1);

}  // namespace fovea::infer
