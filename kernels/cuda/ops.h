// The CUDA implementations as the lists in kernels/<family>.cc name them. All run on the stream of the operands' GPU
// and return before the work is done. f32 and f64; what the entry points check by check_maps also bf16 and f16.
#pragma once

#include "kernels/problems.h"

namespace fovea::kernels::cuda {

/// For `declines`.
inline const char* needs_cuda(const ConstView& view) {
  return view.device.type == DeviceType::cuda ? nullptr : "operands are not in GPU memory";
}

inline const char* declines(const ActivationProblem& p) { return needs_cuda(p.out); }
void activation_forward(const ActivationProblem&);
void activation_backward(const ActivationProblem&);

inline const char* declines(const BinaryProblem& p) { return needs_cuda(p.y); }
void binary(const BinaryProblem&);
inline const char* declines(const ReduceToProblem& p) { return needs_cuda(p.y); }
void reduce_to(const ReduceToProblem&);
inline const char* declines(const AffineProblem& p) { return needs_cuda(p.y); }
void affine(const AffineProblem&);
inline const char* declines(const ConcatProblem& p) {
  return p.pass == Pass::forward ? needs_cuda(p.whole_out) : needs_cuda(p.whole_in);
}
void concat(const ConcatProblem&);
inline const char* declines(const ReduceProblem& p) { return needs_cuda(p.out); }
void reduce_forward(const ReduceProblem&);
void reduce_backward(const ReduceProblem&);
inline const char* declines(const ReduceMaxBackwardProblem& p) { return needs_cuda(p.dx); }
void reduce_max_backward(const ReduceMaxBackwardProblem&);
inline const char* declines(const SoftmaxProblem& p) { return needs_cuda(p.out); }
void softmax(const SoftmaxProblem&);
inline const char* declines(const CrossEntropyProblem& p) { return needs_cuda(p.logits); }
/// A label that is no class gives NaN: no one on the host looks at labels that lie on the GPU.
void cross_entropy(const CrossEntropyProblem&);
inline const char* declines(const BinaryCrossEntropyProblem& p) { return needs_cuda(p.logits); }
void binary_cross_entropy(const BinaryCrossEntropyProblem&);
inline const char* declines(const SquaredErrorProblem& p) { return needs_cuda(p.x); }
void squared_error(const SquaredErrorProblem&);
inline const char* declines(const DropoutProblem& p) { return needs_cuda(p.out); }
void dropout_forward(const DropoutProblem&);
void dropout_backward(const DropoutProblem&);
inline const char* declines(const ResizeProblem& p) { return needs_cuda(p.out); }
void resize(const ResizeProblem&);

inline const char* declines(const BatchNormProblem& p) { return needs_cuda(p.x); }
void batch_norm_forward(const BatchNormProblem&);
void batch_norm_backward(const BatchNormProblem&);
inline const char* declines(const BatchPartsProblem& p) { return needs_cuda(p.like()); }
void batch_parts(const BatchPartsProblem&);
inline const char* declines(const LayerNormProblem& p) { return needs_cuda(p.x); }
void layer_norm_forward(const LayerNormProblem&);
void layer_norm_backward(const LayerNormProblem&);
inline const char* declines(const GroupNormProblem& p) { return needs_cuda(p.x); }
void group_norm_forward(const GroupNormProblem&);
void group_norm_backward(const GroupNormProblem&);

inline const char* declines(const Pool2dProblem& p) { return needs_cuda(p.out); }
void pool2d_forward(const Pool2dProblem&);
void pool2d_backward(const Pool2dProblem&);
inline const char* declines(const AveragePoolProblem& p) { return needs_cuda(p.out); }
void average_pool_forward(const AveragePoolProblem&);
void average_pool_backward(const AveragePoolProblem&);

inline const char* declines(const FakeQuantizeProblem& p) { return needs_cuda(p.x); }
void fake_quantize_forward(const FakeQuantizeProblem&);
void fake_quantize_backward(const FakeQuantizeProblem&);

inline const char* declines(const SgdProblem& p) { return needs_cuda(p.all.front().param); }
void sgd(const SgdProblem&);
inline const char* declines(const AdamProblem& p) { return needs_cuda(p.all.front().param); }
void adam(const AdamProblem&);
inline const char* declines(const RmspropProblem& p) { return needs_cuda(p.all.front().param); }
void rmsprop(const RmspropProblem&);
inline const char* declines(const UpdateProblem& p) { return needs_cuda(p.all.front().to); }
void update(const UpdateProblem&);
inline const char* declines(const ScanProblem& p) { return needs_cuda(p.x); }
void sum_of_squares(const ScanProblem&);
void all_finite(const ScanProblem&);
inline const char* declines(const ScanManyProblem& p) { return needs_cuda(p.x.front()); }
void scan_many(const ScanManyProblem&);

inline const char* declines(const ChangePicturesProblem& p) { return needs_cuda(p.out); }
void change_pictures(const ChangePicturesProblem&);
inline const char* declines(const PicturesToFloatsProblem& p) { return needs_cuda(p.y); }
void pictures_to_floats(const PicturesToFloatsProblem&);
inline const char* declines(const MixPicturesProblem& p) { return needs_cuda(p.y); }
void mix_pictures(const MixPicturesProblem&);

// ---- products (gemm.cc: cuBLAS)
inline const char* declines(const MatmulProblem& p) { return needs_cuda(p.c); }
void matmul(const MatmulProblem&);
inline const char* declines(const DenseProblem& p) { return needs_cuda(p.out); }
void dense(const DenseProblem&);

// ---- convolution, in the order in which they are tried
/// Depthwise by our own kernels (depthwise.cu): cuDNN's run far from the memory's speed.
const char* depthwise_declines(const Conv2dProblem&);
void depthwise(const Conv2dProblem&);
/// 1×1 with stride 1 is a matrix product (gemm.cc).
const char* pointwise_declines(const Conv2dProblem&);
void pointwise(const Conv2dProblem&);
/// Everything that cuDNN has an engine for, in f32, bf16 and f16 (conv_cudnn.cc).
const char* cudnn_declines(const Conv2dProblem&);
void cudnn_conv2d(const Conv2dProblem&);
/// One thread per result, for what is left: f64, groups that cuDNN refuses (conv_direct.cu).
const char* direct_declines(const Conv2dProblem&);
void direct_conv2d(const Conv2dProblem&);

// ---- not in a list
/// to[i] += from[i], in any floating type.
void accumulate(void* to, const void* from, std::int64_t count, DType dtype, int device);
/// `from` in another floating type; false where one is not floating.
bool convert(const ConstView& from, void* to, DType dtype);
/// sums[c] = Σ over rows of x [rows, channels]; what a bias gets.
void column_sums(const ConstView& x, std::int64_t rows, std::int64_t channels, const View& sums);
/// y = act(y + bias[c]) in place, y [rows, channels]. Bias may be absent; of what y is computed in.
void bias_activation(const OptionalView& bias, const ActivationParams&, const View& y, std::int64_t channels);
/// HWIO [kh·kw, Ci/groups, Co] to and from cuDNN's OHWI [Co, kh·kw, Ci/groups].
void weights_to_ohwi(const ConstView& hwio, void* ohwi, std::int64_t taps, std::int64_t ci, std::int64_t co);
void weights_to_hwio(const void* ohwi, const View& hwio, std::int64_t taps, std::int64_t ci, std::int64_t co);
/// Surrounds x [N,H,W,C] with zeros, and takes the inside back out; `padded` has h + top + bottom rows and so on.
void pad_image(const ConstView& x, void* padded, const Padding&);
void crop_image(const void* padded, const View& x, const Padding&);

}  // namespace fovea::kernels::cuda
