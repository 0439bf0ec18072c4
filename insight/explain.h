// Why a network answers what it answers: maps of the picture that say which parts speak for a class.
//
//   insight::Explainer explainer(model);
//   insight::Explanation why = explainer(x);          // Grad-CAM of the most likely class
//   write_png("why.png", insight::render(picture, why, {.class_name = "tabby cat"}));   // insight/render.h
//
// A map is a hint, not a proof: insight/faithfulness.h measures how far it can be trusted.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/model.h"
#include "train/cancel.h"

namespace fovea::insight {

enum class Method : std::uint8_t {
  gradcam,               ///< Grad-CAM (Selvaraju et al. 2017)
  gradcam_pp,            ///< Grad-CAM++ (Chattopadhay et al. 2018)
  score_cam,             ///< Score-CAM (Wang et al. 2020): no gradients, one forward pass per channel
  eigen_cam,             ///< Eigen-CAM (Muhammad and Yeasin 2020): what the layer sees, whatever the class
  integrated_gradients,  ///< Sundararajan, Taly and Yan 2017
  smooth_grad,           ///< Smilkov et al. 2017
  occlusion,             ///< Zeiler and Fergus 2014
  lime,                  ///< Ribeiro, Singh and Guestrin 2016, on superpixels
};
/// "gradcam", "gradcam++", "scorecam", "eigencam", "integrated-gradients", "smoothgrad", "occlusion", "lime".
FOVEA_API std::string_view to_string(Method method);
/// From those names. Error{usage} naming them otherwise.
FOVEA_API Method method_from_string(std::string_view name);
FOVEA_API const std::vector<Method>& all_methods();

/// What stands in place of pixels that are taken away.
enum class Fill : std::uint8_t {
  black,
  grey,  ///< what is 0 after the model's normalisation where that is a mean; the middle of the range elsewhere
  mean,  ///< the picture's mean colour (for LIME: each superpixel's own)
  blur,  ///< the picture, blurred (Gauss, a standard deviation of 1/20 of the shorter side)
};
FOVEA_API std::string_view to_string(Fill fill);
FOVEA_API Fill fill_from_string(std::string_view name);

struct IntegratedGradientsOptions {
  int steps = 50;  ///< midpoints of so many equal parts of the straight way from the baseline, 1 to 10 000
  /// Computes in f64. In f32, rounding flips single ReLUs, after which maps differ by up to 2 % of their largest value
  /// between machines, thread counts and frameworks (PyTorch's f32 from its f64 as well).
  bool precise = true;
  Fill baseline = Fill::black;
};
struct SmoothGradOptions {
  int samples = 50;     ///< 1 to 10 000
  double noise = 0.15;  ///< standard deviation, as a share of the picture's range of values, above 0
};
struct OcclusionOptions {
  int window = 0;  ///< side of the square in pixels; 0: a seventh of the shorter side
  int stride = 0;  ///< 0: half the window
  Fill fill = Fill::grey;
};
struct LimeOptions {
  int segments = 50;        ///< about so many superpixels, 2 to 1000
  double compactness = 10;  ///< of SLIC (insight/superpixels.h)
  int samples = 1000;       ///< pictures with random superpixels taken away, per seed
  /// Probability of each superpixel to stay, in (0, 1). The authors' code has 0.5; near the picture, tops agree better
  /// over seeds and deletion falls faster.
  double keep = 0.8;
  double kernel_width = 0.25;
  double ridge = 1;  ///< the penalty's weight
  Fill fill = Fill::mean;
  /// Fits with so many seeds and averages them; from 2 on, Explanation::stability says how alike they are.
  int seeds = 1;
  int top = 5;  ///< how many superpixels the stability looks at
};

struct ExplainOptions {
  Method method = Method::gradcam;
  std::optional<int> target = std::nullopt;  ///< class; default: the most likely one
  /// CAMs: the module whose result is looked at ("block_12", or a name from the weights' framework); default: the last
  /// feature map with an extent.
  std::string layer = {};
  IntegratedGradientsOptions integrated_gradients = {};
  SmoothGradOptions smooth_grad = {};
  OcclusionOptions occlusion = {};
  LimeOptions lime = {};
  int batch_size = 8;  ///< pictures per pass, 1 to 1024
  std::uint64_t seed = 1;
  const CancelToken* cancel = nullptr;  ///< not owned; Error{cancelled} when it fires
  std::function<void(std::int64_t done, std::int64_t total)> on_progress = {};
};

struct Explanation {
  Method method = Method::gradcam;
  int target = 0;          ///< the class that is explained
  int predicted = 0;       ///< the most likely one
  double logit = 0;        ///< of the target
  double probability = 0;  ///< of the target
  std::string layer;       ///< of CAMs
  /// f32 [H, W] at the size of the network's input. CAMs: at least 0. Integrated gradients: the sum over the channels
  /// of (x - baseline) · mean gradient of the logit. SmoothGrad: the sum of the mean gradient's magnitudes. Occlusion
  /// and LIME: how much probability goes with the pixel.
  Tensor map;
  /// What was computed before it was drawn out: CAMs f32 [h, w] at the layer's resolution, gradients [H, W, C],
  /// occlusion [rows, columns], LIME [segments].
  Tensor raw;
  bool is_signed = false;   ///< values below 0 speak against the class
  Tensor segments;          ///< LIME: i32 [H, W], from 0
  double completeness = 0;  ///< integrated gradients: (Σ map) / (logit - logit of the baseline); 1 is perfect
  double fit = 0;           ///< LIME: weighted R² of the linear model, mean over seeds
  double stability = 0;     ///< LIME with several seeds: mean Jaccard index of the top superpixels of two seeds
  std::vector<std::vector<int>> top;  ///< LIME: the top superpixels, best first, per seed
};

/// Explains one model's answers. Captures and compiles the network once; the model must not change meanwhile. One
/// thread at a time.
class FOVEA_API Explainer {
 public:
  /// Error{usage} for a model whose result is not [N, classes].
  explicit Explainer(const Model& model);
  ~Explainer();
  Explainer(Explainer&&) noexcept;
  Explainer& operator=(Explainer&&) noexcept;

  /// @param x one picture, f32 [1,H,W,C] or [H,W,C], as the model's preprocessing makes it. Error{shape} for another
  /// shape; Error{usage} for a class or layer that is not there (naming near ones) or an option out of range;
  /// Error{numeric} where the result is not finite; Error{cancelled}.
  Explanation operator()(const Tensor& x, const ExplainOptions& options = {});
  /// Softmax of the logits, f32 [N, classes], by the compiled network.
  Tensor probabilities(const Tensor& x);
  const Model& model() const;
  /// The layers a CAM can look at, in order of computation, and that which it looks at by default.
  std::vector<std::string> layers() const;
  std::string default_layer() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// One explanation.
FOVEA_API Explanation explain(const Model& model, const Tensor& x, const ExplainOptions& options = {});

/// The picture that a network input was made of, without the normalisation: RGB or grey, rounded to 8 bits.
FOVEA_API image::Image picture_of(const Tensor& x, const image::Preprocessing& preprocessing);
/// The input with all its pixels taken away, f32 [1,H,W,C].
FOVEA_API Tensor filled(const Tensor& x, const image::Preprocessing& preprocessing, Fill fill);
/// Bilinear, pixel centres at halves, edges repeated: f32 [h, w] to [height, width].
FOVEA_API Tensor enlarge(const Tensor& map, int height, int width);

}  // namespace fovea::insight
