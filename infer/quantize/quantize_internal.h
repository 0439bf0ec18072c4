// The parts of quantisation, in the order in which they run. Internal to infer/.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "infer/graph/graph_internal.h"
#include "infer/quantize/quantize.h"
#include "infer/quantize/simulation_internal.h"

namespace fovea::infer {

/// Whether integer kernels can compute the node: convolutions of one group, depthwise ones, dense layers.
bool can_be_integer(const Node& node);

/// u8 for a range; the range holds 0.
Quantization quantization_of(const Range& range);

/// u8 for pictures, whose values are those of a few hundred grey levels: of grids about as wide as `start`, the one
/// nearest to the values themselves. Pixels normalised as (x − 127)/128 are met exactly; where they would all lie in
/// the middle between two steps, as x/127.5 − 1 would, a slightly wider grid has a third of the error.
Quantization quantization_of_pictures(const Quantization& start, const Tensor& pictures);

/// weight and weight_scale of an integer node.
struct IntegerWeights {
  Tensor weight, scale;
};
/// To the nearest integers. With `importance` (one double for each weight of a result channel, in the order of rows;
/// or for each weight) the scale is that of the least error weighted so.
IntegerWeights quantize_weights(const Tensor& weight, WeightScale how, const std::vector<double>& importance = {});

/// What a node's products read on the pictures, around its mean: the matrix Σ x·xᵀ of the windows [kh·kw·ci] that a
/// result is made of; of a depthwise node one matrix [kh·kw] for each channel.
struct Moments {
  std::int64_t size = 0, rows = 0;
  std::vector<double> matrix;
};
/// By node; size 0 for nodes that cannot be integer or whose windows hold more than kMaxMoments values.
inline constexpr std::int64_t kMaxMoments = 1536;
std::vector<Moments> moments_of(const Graph& graph, std::span<const Tensor> pictures);

/// Integers for the least error of the node's results rather than of its weights (Frantar et al. 2022): weights are
/// rounded one after the other, and those still to come take over what the error does to the results.
IntegerWeights round_by_results(const Node& node, const Moments& moments, WeightScale how);

/// Power of a signal, and of the difference to another.
class Noise {
 public:
  void add(const Tensor& a, const Tensor& b);
  /// 10·log10(Σ a² / Σ (a − b)²); 200 where they are equal.
  double db() const;

 private:
  double signal_ = 0, noise_ = 0;
};

/// What share of pictures may be expected to be answered rightly by f32 and no longer, by the f32 network's own
/// probabilities. An error have − want is taken to come with any picture: every one, times `factor`, is added to each
/// of `logits`, and where another class then wins, its probability takes the place of the best one's. All [N, classes].
double expected_loss(const Tensor& logits, const Tensor& want, const Tensor& have, double factor = 1);
/// The greatest factor, at most 1, by which errors may be multiplied so that this is at most `most`.
double tolerable_factor(const Tensor& logits, const Tensor& want, const Tensor& have, double most);

/// What each value was on the pictures; only values that some node that can be integer reads.
std::vector<Histogram> observe(const Graph& graph, std::span<const Tensor> pictures);

/// Scales channels of values so that all fill the range (see equalize.cc). Returns how many values it changed.
int equalize(Graph& graph, std::span<const Tensor> pictures);

/// Means by channel, the last axis.
class ChannelMeans {
 public:
  void add(const Tensor& values);
  std::size_t channels() const { return sums_.size(); }
  double operator[](std::size_t channel) const { return sums_[channel] / static_cast<double>(rows_); }

 private:
  std::vector<double> sums_;
  std::int64_t rows_ = 0;
};
/// The bias with which each channel of `have` gets the mean of `want`, both without activation.
Tensor corrected_bias(const Tensor& bias, const ChannelMeans& want, const ChannelMeans& have);
/// Changes the biases of `quantized` so that each result channel's mean is that of `reference`, layer by layer, every
/// layer reading what the quantised layers before it give.
void correct_bias(Graph& quantized, const Graph& reference, std::span<const Tensor> pictures);

/// A graph with everything ready for either precision of each node.
struct Prepared {
  Graph reference;                      ///< f32
  std::vector<IntegerWeights> weights;  ///< by node; undefined where it cannot be integer
  std::vector<Quantization> values;     ///< by root value; scale 0 where unknown
};
/// The graph in which exactly the nodes of `integer` multiply integers, and exactly the values that they read are u8.
Graph assemble(const Prepared& prepared, const std::vector<bool>& integer);

/// By node: the noise power of the logits, relative to their own, both without what all classes have in common, when
/// only this node is quantised, its bias corrected or not. 0 for others.
std::vector<double> sensitivity(const Prepared& prepared, const Tensor& pictures, bool correct);

/// So many pictures, spread evenly over all batches (folders come class by class), as one batch.
Tensor some_pictures(std::span<const Tensor> batches, std::int64_t count);
/// Three quarters of the pictures to calibrate with, and a quarter to judge by; of less than four, all for both.
std::pair<std::vector<Tensor>, std::vector<Tensor>> hold_out(std::span<const Tensor> batches);
/// What all values of a picture take in f32.
std::int64_t bytes_of_values(const Graph& graph);
/// Batches in parts whose values, so many bytes for each picture, take little memory.
std::vector<Tensor> in_passes(std::span<const Tensor> batches, std::int64_t bytes_of_each);

}  // namespace fovea::infer
