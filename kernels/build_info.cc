#include "kernels/build_info.h"

#include <hwy/targets.h>

#include <bit>

#ifdef FOVEA_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#endif

#include "core/error.h"
#include "kernels/registry.h"

namespace fovea::kernels {

BuildInfo build_info() {
  BuildInfo info;
  detail::verbose();  // reads the environment, which may limit the targets
  // Better targets have lower bits; dynamic dispatch takes the best one that was also compiled.
  const auto targets = static_cast<std::uint64_t>(hwy::SupportedTargets() & HWY_TARGETS);
  info.simd_target = hwy::TargetName(static_cast<std::int64_t>(targets & (~targets + 1)));
#ifdef FOVEA_ONEDNN
  const dnnl_version_t* version = dnnl_version();
  info.onednn = str(version->major, ".", version->minor, ".", version->patch);
#else
  info.onednn = "not built in";
#endif
  return info;
}

}  // namespace fovea::kernels
