// Entry points for batches of pictures: checks and the lists of implementations.
#include "kernels/pictures.h"

#include "kernels/check_internal.h"
#include "kernels/cuda/entry.h"
#include "kernels/problems.h"
#include "kernels/reference/pictures.h"
#include "kernels/registry.h"

namespace fovea::kernels {
namespace {

const char* declines(const ChangePicturesProblem& p) { return needs_cpu(p.out); }
const char* declines(const PicturesToFloatsProblem& p) { return needs_cpu(p.y); }
const char* declines(const MixPicturesProblem& p) { return needs_cpu(p.y); }

// On the CPU pictures are finished one by one where they are decoded (augment/loader.h): nothing here needs to be fast.
constexpr Implementation<ChangePicturesProblem> kChange[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::change_pictures),
    {"reference", declines, reference::change_pictures},
};
constexpr Implementation<PicturesToFloatsProblem> kToFloats[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::pictures_to_floats),
    {"reference", declines, reference::pictures_to_floats},
};
constexpr Implementation<MixPicturesProblem> kMix[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::mix_pictures),
    {"reference", declines, reference::mix_pictures},
};

void check_pictures(const char* op, const ConstView& x, DType dtype) {
  check_dtype(op, {"pictures", x}, dtype, x);
  check_rank(op, "pictures", x.shape, 4, "NHWC");
  if (x.dim(3) != 1 && x.dim(3) != 3) throw Error(ErrorKind::shape, op, str("pictures have ", x.dim(3), " channels"));
}

}  // namespace

void change_pictures(std::span<const PixelStep> steps, int per_picture, ConstView in, View out) {
  const char* const op = "change_pictures";
  check_pictures(op, in, DType::u8);
  check_dtype(op, {"result", out}, DType::u8, in);
  check_shape(op, {"result", out}, in.shape);
  if (per_picture < 1 || static_cast<std::int64_t>(steps.size()) != in.dim(0) * per_picture) {
    throw Error(ErrorKind::usage, op,
                str(steps.size(), " steps for ", in.dim(0), " pictures, ", per_picture, " for each"));
  }
  if (in.numel() > 0) dispatch<ChangePicturesProblem>(op, kChange, {steps, per_picture, in, out});
}

void pictures_to_floats(ConstView x, ConstView values, bool reversed, View y) {
  const char* const op = "pictures_to_floats";
  check_pictures(op, x, DType::u8);
  check_dtype(op, {"values", values}, DType::f32, x);
  check_shape(op, {"values", values}, Shape{256, x.dim(3)});
  check_dtype(op, {"result", y}, DType::f32, x);
  check_shape(op, {"result", y}, x.shape);
  if (x.numel() > 0) dispatch<PicturesToFloatsProblem>(op, kToFloats, {x, values, reversed, y});
}

void mix_pictures(const MixStep& step, ConstView x, View y) {
  const char* const op = "mix_pictures";
  check_pictures(op, x, DType::f32);
  check_dtype(op, {"result", y}, DType::f32, x);
  check_shape(op, {"result", y}, x.shape);
  bool good = static_cast<std::int64_t>(step.partner.size()) == x.dim(0);
  for (const std::int64_t i : step.partner) good = good && i >= 0 && i < x.dim(0);
  if (!good)
    throw Error(ErrorKind::usage, op, str("partners of ", x.dim(0), " pictures are expected, each one of them"));
  if (x.numel() > 0) dispatch<MixPicturesProblem>(op, kMix, {&step, x, y});
}

}  // namespace fovea::kernels
