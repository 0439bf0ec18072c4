// Pooling by oneDNN: maximum without arg-maxima, average in both directions.
#ifdef FOVEA_ONEDNN

#include "kernels/check_internal.h"
#include "kernels/cpu/onednn/primitives.h"

namespace fovea::kernels::onednn {

const char* pool2d_declines(const Pool2dProblem& p) {
  if (const char* reason = needs_cpu_f32(p.out)) return reason;
  const bool max = p.params.kind == PoolKind::max;
  if (max && (p.pass == Pass::backward || p.argmax_out)) return "arg-maxima";
  // Cells beyond the padding (ceil mode) count in oneDNN's average over whole windows, and padding takes part in
  // nobody's maximum.
  if (p.params.ceil_mode) return "ceil mode";
  const Padding& pad = p.params.padding;
  if (pad.top >= p.params.window.h || pad.bottom >= p.params.window.h || pad.left >= p.params.window.w ||
      pad.right >= p.params.window.w) {
    return "windows outside the image";
  }
  return nullptr;
}

void pool2d_run(const Pool2dProblem& p) {
  guarded("pool2d", [&] {
    const Shape &x = p.x_shape, &y = p.y_shape;
    const bool backward = p.pass == Pass::backward;
    const algorithm kind = p.params.kind == PoolKind::max ? algorithm::pooling_max
                           : p.params.count_include_pad   ? algorithm::pooling_avg_include_padding
                                                          : algorithm::pooling_avg_exclude_padding;
    const Padding& pad = p.params.padding;
    const Key key{kPool,
                  backward,
                  team(),
                  static_cast<std::int64_t>(kind),
                  x[0],
                  x[1],
                  x[2],
                  x[3],
                  y[1],
                  y[2],
                  p.params.window.h,
                  p.params.window.w,
                  p.params.stride.h,
                  p.params.stride.w,
                  pad.top,
                  pad.left};
    const auto ready = kept_primitive(key, [&] {
      Ready made;
      made.src = nhwc(x[0], x[1], x[2], x[3]);
      made.dst = nhwc(y[0], y[1], y[2], y[3]);
      const Dims strides{p.params.stride.h, p.params.stride.w}, window{p.params.window.h, p.params.window.w};
      const Dims before{pad.top, pad.left};
      const Dims after{(y[1] - 1) * p.params.stride.h + p.params.window.h - x[1] - pad.top,
                       (y[2] - 1) * p.params.stride.w + p.params.window.w - x[2] - pad.left};
      const primitive_attr attr = attributes();
      const auto forward = describe_pool_forward(attr, kind, made.src, made.dst, strides, window, before, after);
      if (backward) {
        const auto pd = describe_pool_backward(attr, forward, kind, made.src, made.dst, strides, window, before, after);
        made.primitive = dnnl::pooling_backward(pd);
        made.scratch_bytes = pd.scratchpad_desc().get_size();
      } else {
        made.primitive = dnnl::pooling_forward(forward);
        made.scratch_bytes = forward.scratchpad_desc().get_size();
      }
      return made;
    });
    std::unordered_map<int, memory> args;
    if (backward) {
      args = {{DNNL_ARG_DIFF_DST, wrap(ready->dst, p.in.data)}, {DNNL_ARG_DIFF_SRC, wrap(ready->src, p.out.data)}};
    } else {
      args = {{DNNL_ARG_SRC, wrap(ready->src, p.in.data)}, {DNNL_ARG_DST, wrap(ready->dst, p.out.data)}};
    }
    execute(*ready, args);
  });
}

}  // namespace fovea::kernels::onednn

#endif  // FOVEA_ONEDNN
