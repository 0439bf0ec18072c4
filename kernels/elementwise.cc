// Entry points of broadcasting sums and products, concatenation and reductions: checks and the lists of
// implementations.
#include "kernels/elementwise.h"

#include <algorithm>
#include <array>

#include "kernels/check_internal.h"
#include "kernels/cpu/simd/simd.h"
#include "kernels/cuda/entry.h"
#include "kernels/problems.h"
#include "kernels/reference/elementwise.h"
#include "kernels/registry.h"

namespace fovea::kernels {
namespace {

void reference_binary(const BinaryProblem& p) {
  by_scalar(p.y.dtype, [&](auto t) { reference::binary<decltype(t)>(p); });
}
void reference_reduce_to(const ReduceToProblem& p) {
  by_scalar(p.y.dtype, [&](auto t) { reference::reduce_to<decltype(t)>(p); });
}
void reference_affine(const AffineProblem& p) {
  by_scalar(p.y.dtype, [&](auto t) { reference::affine<decltype(t)>(p); });
}
void reference_reduce_forward(const ReduceProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::reduce_forward<decltype(t)>(p); });
}
void reference_reduce_backward(const ReduceProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::reduce_backward<decltype(t)>(p); });
}
template <class Problem>
const char* y_declines(const Problem& p) {
  return needs_cpu(p.y);
}
const char* reduce_declines(const ReduceProblem& p) { return needs_cpu(p.out); }
const char* concat_declines(const ConcatProblem& p) {
  return p.pass == Pass::forward ? needs_cpu(p.whole_out) : needs_cpu(p.whole_in);
}

// Fastest first; each either runs a problem or says why not.
constexpr Implementation<BinaryProblem> kBinary[] = {
    {"simd", simd::declines, simd::binary},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::binary),
    {"reference", y_declines, reference_binary},
};
constexpr Implementation<ReduceToProblem> kReduceTo[] = {
    {"simd", simd::declines, simd::reduce_to},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::reduce_to),
    {"reference", y_declines, reference_reduce_to},
};
constexpr Implementation<AffineProblem> kAffine[] = {
    {"simd", simd::declines, simd::affine},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::affine),
    {"reference", y_declines, reference_affine},
};
constexpr Implementation<ConcatProblem> kConcat[] = {
    {"simd", simd::declines, simd::concat},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::concat),
    // both passes; copying is all there is to it
    {"reference", concat_declines, reference::concat},
};
constexpr Implementation<ReduceProblem> kReduceForward[] = {
    {"simd", simd::declines, simd::reduce},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::reduce_forward),
    {"reference", reduce_declines, reference_reduce_forward},
};
constexpr Implementation<ReduceProblem> kReduceBackward[] = {
    {"simd", simd::declines, simd::reduce},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::reduce_backward),
    {"reference", reduce_declines, reference_reduce_backward},
};

/// Fills in what both passes share; `whole` is the concatenation.
template <class PartView>
ConcatProblem concat_problem(std::string_view op, int axis, const ConstView& whole, std::span<const PartView> parts) {
  const int rank = whole.shape.rank();
  const int at = axis < 0 ? axis + rank : axis;
  if (at < 0 || at >= rank) throw Error(ErrorKind::usage, op, str("axis ", axis, " is out of range for ", whole.shape));
  if (parts.empty()) throw Error(ErrorKind::usage, op, "expected at least one part");
  std::int64_t extent = 0;
  for (const PartView& part : parts) {
    check_dtype(op, {"part", part}, whole.dtype, whole);
    if (part.shape.rank() != rank || part.shape.with_dim(at, whole.shape[at]) != whole.shape) {
      throw Error(
          ErrorKind::shape, op,
          str("parts must agree with the whole but for axis ", at, ", have ", part.shape, " and ", whole.shape));
    }
    extent += part.shape[at];
  }
  if (extent != whole.shape[at]) {
    throw Error(ErrorKind::shape, op, str("parts hold ", extent, " along axis ", at, ", the whole is ", whole.shape));
  }
  ConcatProblem p;
  p.axis = at;
  for (int i = 0; i < rank; ++i) (i < at ? p.outer : p.inner) *= i == at ? 1 : whole.shape[i];
  return p;
}

ReduceProblem reduce_problem(std::string_view op, Reduction kind, std::span<const int> axes, const Operand& full,
                             const Operand& result) {
  check_floating(op, {full, result});
  const Shape& shape = full.view->shape;
  ReduceProblem p;
  p.kind = kind;
  for (const int axis : axes) {
    const int at = axis < 0 ? axis + shape.rank() : axis;
    if (at < 0 || at >= shape.rank())
      throw Error(ErrorKind::usage, op, str("axis ", axis, " is out of range for ", shape));
    if (p.reduced[static_cast<std::size_t>(at)])
      throw Error(ErrorKind::usage, op, str("axis ", axis, " is listed twice"));
    p.reduced[static_cast<std::size_t>(at)] = true;
  }
  std::array<std::int64_t, Shape::kMaxRank> kept{};
  std::size_t rank = 0;
  for (int i = 0; i < shape.rank(); ++i) {
    if (!p.reduced[static_cast<std::size_t>(i)]) kept[rank++] = shape[i];
  }
  check_shape(op, result, Shape(std::span<const std::int64_t>(kept.data(), rank)));
  return p;
}

}  // namespace

Shape broadcast_shape(std::string_view op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  std::array<std::int64_t, Shape::kMaxRank> dims{};
  for (int i = 0; i < rank; ++i) {
    const int ia = i - (rank - a.rank()), ib = i - (rank - b.rank());
    const std::int64_t da = ia < 0 ? 1 : a[ia], db = ib < 0 ? 1 : b[ib];
    if (da != db && da != 1 && db != 1) {
      throw Error(ErrorKind::shape, op, str(a, " and ", b, " do not broadcast: ", da, " against ", db),
                  "extents, counted from the last axis, must agree or be 1");
    }
    dims[static_cast<std::size_t>(i)] = da == 1 ? db : da;
  }
  return Shape(std::span<const std::int64_t>(dims.data(), static_cast<std::size_t>(rank)));
}

void binary(Binary kind, ConstView a, ConstView b, View y) {
  constexpr const char* kOps[] = {"add", "subtract", "multiply"};
  const char* op = kOps[static_cast<int>(kind)];
  check_maps(op, {{"left operand", a}, {"right operand", b}, {"result", y}});
  check_shape(op, {"result", y}, broadcast_shape(op, a.shape, b.shape));
  if (y.numel() == 0) return;
  dispatch<BinaryProblem>(op, kBinary, {kind, a, b, y});
}

void reduce_to(ConstView x, View y) {
  constexpr const char* kOp = "reduce_to";
  check_maps(kOp, {{"input", x}, {"result", y}});
  if (broadcast_shape(kOp, x.shape, y.shape) != x.shape) {
    throw Error(ErrorKind::shape, kOp, str("result ", y.shape, " does not broadcast to ", x.shape));
  }
  if (y.numel() == 0) return;
  if (x.numel() == 0) return fill_zero(y);
  dispatch<ReduceToProblem>(kOp, kReduceTo, {x, y});
}

void affine(double scale, double shift, ConstView x, View y) {
  constexpr const char* kOp = "affine";
  check_maps(kOp, {{"input", x}, {"result", y}});
  check_shape(kOp, {"result", y}, x.shape);
  if (y.numel() == 0) return;
  dispatch<AffineProblem>(kOp, kAffine, {scale, shift, x, y});
}

void concat_forward(int axis, std::span<const ConstView> x, View y) {
  ConcatProblem p = concat_problem<ConstView>("concat", axis, y, x);
  p.parts_in = x;
  p.whole_out = y;
  if (y.numel() == 0) return;
  dispatch<ConcatProblem>("concat_forward", kConcat, p);
}

void concat_backward(int axis, ConstView dy, std::span<const View> dx) {
  ConcatProblem p = concat_problem<View>("concat_backward", axis, dy, dx);
  p.pass = Pass::backward;
  p.whole_in = dy;
  p.parts_out = dx;
  if (dy.numel() == 0) return;
  dispatch<ConcatProblem>("concat_backward", kConcat, p);
}

void reduce(Reduction kind, std::span<const int> axes, ConstView x, View y) {
  constexpr const char* kOp = "reduce";
  ReduceProblem p = reduce_problem(kOp, kind, axes, {"input", x}, {"result", y});
  if (x.numel() == 0 && y.numel() > 0) {
    if (kind == Reduction::sum) return fill_zero(y);
    throw Error(ErrorKind::shape, kOp,
                str("nothing has no ", kind == Reduction::mean ? "mean" : "greatest element", ": input is ", x.shape));
  }
  p.in = x;
  p.out = y;
  if (y.numel() == 0) return;
  dispatch<ReduceProblem>("reduce_forward", kReduceForward, p);
}

void reduce_backward(Reduction kind, std::span<const int> axes, ConstView dy, View dx) {
  constexpr const char* kOp = "reduce_backward";
  if (kind == Reduction::max) throw Error(ErrorKind::usage, kOp, "only sum and mean have a backward pass here");
  ReduceProblem p = reduce_problem(kOp, kind, axes, {"input gradient", dx}, {"result gradient", dy});
  p.pass = Pass::backward;
  p.in = dy;
  p.out = dx;
  if (dx.numel() == 0) return;
  dispatch<ReduceProblem>(kOp, kReduceBackward, p);
}

}  // namespace fovea::kernels
