// The per-step curve is thinned out as it grows, in the same way whether or not the run was interrupted.
#include "train/history.h"

namespace fovea {

void History::add(const CurvePoint& point) {
  if (point.step % curve_stride != 0) return;
  curve.push_back(point);
  if (curve.size() <= kMaxCurvePoints) return;
  curve_stride *= 2;
  std::erase_if(curve, [this](const CurvePoint& p) { return p.step % curve_stride != 0; });
}

}  // namespace fovea
