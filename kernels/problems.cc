// The texts of FOVEA_VERBOSE lines.
#include "kernels/problems.h"

namespace fovea::kernels {
namespace {

std::string text(const Padding& p) { return str("pad", p.top, ",", p.bottom, ",", p.left, ",", p.right); }
std::string text(Size2 s) { return str(s.h, "x", s.w); }
const char* text(Pass pass) { return pass == Pass::forward ? "forward" : "backward"; }
std::string text(const ActivationParams& a) { return a.kind == Activation::none ? "" : str(" +", to_string(a.kind)); }

/// One tensor's type and shape, or how many there are.
template <class Item>
std::string of_all(std::span<const Item> all, View Item::*view) {
  const View& first = all.front().*view;
  if (all.size() == 1) return str(to_string(first.dtype), " ", first.shape);
  std::int64_t count = 0;
  for (const Item& item : all) count += (item.*view).numel();
  return str(all.size(), " tensors, ", to_string(first.dtype), " ", count);
}

}  // namespace

std::string Conv2dProblem::to_string() const {
  return str(fovea::to_string(out.dtype), " ", x.shape, " k", kh(), "x", kw(), " -> ", y.shape, " s",
             text(params.stride), " d", text(params.dilation), " ", text(params.padding), " g", params.groups,
             bias || dbias ? " bias" : "", text(activation));
}

std::string Pool2dProblem::to_string() const {
  return str(text(pass), " ", params.kind == PoolKind::max ? "max " : "average ", fovea::to_string(in.dtype), " ",
             x_shape, " k", text(params.window), " -> ", y_shape, " s", text(params.stride), " ", text(params.padding));
}

std::string AveragePoolProblem::to_string() const {
  return str(text(pass), " ", fovea::to_string(in.dtype), " ", x_shape, " -> ", y_shape);
}

std::string MatmulProblem::to_string() const {
  return str(fovea::to_string(c.dtype), " ", a.shape, transpose_a ? "ᵀ · " : " · ", b.shape, transpose_b ? "ᵀ" : "",
             accumulate ? " accumulate" : "");
}

std::string DenseProblem::to_string() const {
  return str(fovea::to_string(out.dtype), " ", x.shape, " · ", w.shape, bias || dbias ? " bias" : "", text(activation));
}

std::string BatchNormProblem::to_string() const {
  return str(text(pass), training ? " training " : " inference ", fovea::to_string(x.dtype), " ", x.shape,
             text(params.activation));
}

std::string BatchPartsProblem::to_string() const {
  constexpr const char* kName[] = {"moments of ", "statistics of ", "gradient of "};
  return str(kName[static_cast<int>(step)], fovea::to_string(like().dtype), " ", like().shape);
}

std::string LayerNormProblem::to_string() const {
  return str(text(pass), " ", fovea::to_string(x.dtype), " ", x.shape);
}

std::string GroupNormProblem::to_string() const { return str(LayerNormProblem::to_string(), " g", groups); }

std::string ActivationProblem::to_string() const {
  return str(text(pass), " ", kernels::to_string(params.kind), " ", fovea::to_string(out.dtype), " ", out.shape);
}

std::string BinaryProblem::to_string() const {
  constexpr const char* kSign[] = {" + ", " - ", " * "};
  return str(fovea::to_string(y.dtype), " ", a.shape, kSign[static_cast<int>(kind)], b.shape);
}

std::string ReduceToProblem::to_string() const { return str(fovea::to_string(x.dtype), " ", x.shape, " -> ", y.shape); }

std::string AffineProblem::to_string() const {
  return str(fovea::to_string(x.dtype), " ", scale, " * ", x.shape, " + ", shift);
}

std::string ConcatProblem::to_string() const {
  const bool forward = pass == Pass::forward;
  return str(text(pass), " ", forward ? parts_in.size() : parts_out.size(), " parts of ",
             forward ? whole_out.shape : whole_in.shape, " axis ", axis);
}

std::string ReduceProblem::to_string() const {
  constexpr const char* kName[] = {" sum ", " mean ", " max "};
  return str(text(pass), kName[static_cast<int>(kind)], fovea::to_string(in.dtype), " ", in.shape, " -> ", out.shape);
}

std::string ReduceMaxBackwardProblem::to_string() const {
  return str(fovea::to_string(x.dtype), " ", x.shape, " -> ", y.shape);
}

std::string CrossEntropyProblem::to_string() const {
  return str(text(pass), " ", fovea::to_string(logits.dtype), " ", logits.shape);
}
std::string BinaryCrossEntropyProblem::to_string() const {
  return str(text(pass), " ", fovea::to_string(logits.dtype), " ", logits.shape);
}
std::string SquaredErrorProblem::to_string() const {
  return str(text(pass), " ", fovea::to_string(x.dtype), " ", x.shape);
}

std::string SoftmaxProblem::to_string() const {
  return str(text(pass), log ? " log " : " ", fovea::to_string(out.dtype), " ", out.shape);
}

std::string DropoutProblem::to_string() const {
  return str(text(pass), " ", fovea::to_string(out.dtype), " ", out.shape, " rate ", rate);
}

std::string ResizeProblem::to_string() const {
  constexpr const char* kName[] = {" nearest ", " bilinear ", " bicubic "};
  return str(text(pass), kName[static_cast<int>(params.filter)], fovea::to_string(in.dtype), " ", x_shape(), " -> ",
             y_shape(), params.antialias ? " antialias" : "", params.align_corners ? " align_corners" : "");
}

std::string FakeQuantizeProblem::to_string() const {
  return str(text(pass), " ", fovea::to_string(x.dtype), " ", x.shape, " scale ", scale.shape);
}

std::string SgdProblem::to_string() const { return of_all(all, &SgdUpdate::param); }
std::string AdamProblem::to_string() const { return of_all(all, &AdamUpdate::param); }
std::string RmspropProblem::to_string() const { return of_all(all, &RmspropUpdate::param); }
std::string UpdateProblem::to_string() const { return of_all(all, &Update::to); }
std::string ScanProblem::to_string() const { return str(fovea::to_string(x.dtype), " ", x.shape); }
std::string ScanManyProblem::to_string() const { return str(x.size(), " tensors"); }

std::string ChangePicturesProblem::to_string() const { return str(in.shape, ", ", per_picture, " steps"); }
std::string PicturesToFloatsProblem::to_string() const { return str(x.shape, reversed ? " reversed" : ""); }
std::string MixPicturesProblem::to_string() const { return str(x.shape, step->cut ? " cut" : ""); }

}  // namespace fovea::kernels
