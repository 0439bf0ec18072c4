// Convolution by oneDNN, in every direction and with any groups: what our own kernels do not do (grouped convolutions
// with narrow groups) or do not do faster; the lists in kernels/conv2d.cc give the numbers.
#ifdef FOVEA_ONEDNN

#include "kernels/check_internal.h"
#include "kernels/cpu/onednn/primitives.h"
#include "kernels/cpu/scratch.h"

namespace fovea::kernels::onednn {
namespace {

struct ConvDescs {
  memory::desc src, weights, any_weights, bias, dst;
  Dims strides, dilation, before, after;
};

ConvDescs conv_descs(const Conv2dProblem& p) {
  const std::int64_t g = p.params.groups, ci = p.ci() / g, co = p.co() / g, kh = p.kh(), kw = p.kw();
  const std::int64_t row = ci * p.co();  // floats of one kernel tap: [ci/g][co]
  ConvDescs d;
  d.src = nhwc(p.n(), p.h(), p.width(), p.ci());
  d.dst = nhwc(p.n(), p.ho(), p.wo(), p.co());
  const Dims dims = g > 1 ? Dims{g, co, ci, kh, kw} : Dims{co, ci, kh, kw};
  const Dims strides = g > 1 ? Dims{co, 1, p.co(), kw * row, row} : Dims{1, p.co(), kw * row, row};
  d.weights = f32_desc(dims, strides);
  d.any_weights = any_desc(dims);
  d.bias = f32_desc({p.co()}, {1});
  d.strides = {p.params.stride.h, p.params.stride.w};
  d.dilation = {p.params.dilation.h - 1, p.params.dilation.w - 1};
  d.before = {p.params.padding.top, p.params.padding.left};
  d.after = {p.params.padding.bottom, p.params.padding.right};
  return d;
}

Ready make_conv(const Conv2dProblem& p) {
  const ConvDescs d = conv_descs(p);
  primitive_attr attr = attributes();
  Ready ready;
  ready.user_weights = d.weights;
  ready.src = d.src;
  ready.dst = d.dst;
  ready.bias = d.bias;
  const auto kind = algorithm::convolution_direct;
  const auto forward = [&](prop_kind prop, const primitive_attr& a) {
    return p.bias || p.dbias ? describe<dnnl::convolution_forward>(a, prop, kind, d.src, d.any_weights, d.bias, d.dst,
                                                                   d.strides, d.dilation, d.before, d.after)
                             : describe<dnnl::convolution_forward>(a, prop, kind, d.src, d.any_weights, d.dst,
                                                                   d.strides, d.dilation, d.before, d.after);
  };
  const auto finish = [&](const auto& pd, const memory::desc& weights, const dnnl::primitive& primitive) {
    ready.primitive = primitive;
    ready.weights = weights;
    ready.scratch_bytes = pd.scratchpad_desc().get_size();
  };
  switch (p.direction) {
    case Conv2dProblem::Direction::forward: {
      if (fuses(p.activation.kind)) fuse(attr, p.activation);
      const auto pd = forward(prop_kind::forward_inference, attr);
      finish(pd, pd.weights_desc(), dnnl::convolution_forward(pd));
      break;
    }
    case Conv2dProblem::Direction::backward_data: {
      const auto pd = describe_backward<dnnl::convolution_backward_data>(
          attr, forward(prop_kind::forward_training, attr), kind, d.src, d.any_weights, d.dst, d.strides, d.dilation,
          d.before, d.after);
      finish(pd, pd.weights_desc(), dnnl::convolution_backward_data(pd));
      break;
    }
    case Conv2dProblem::Direction::backward_weights: {
      const auto hint = forward(prop_kind::forward_training, attr);
      const auto pd =
          p.dbias ? describe_backward<dnnl::convolution_backward_weights>(
                        attr, hint, kind, d.src, d.any_weights, d.bias, d.dst, d.strides, d.dilation, d.before, d.after)
                  : describe_backward<dnnl::convolution_backward_weights>(attr, hint, kind, d.src, d.any_weights, d.dst,
                                                                          d.strides, d.dilation, d.before, d.after);
      finish(pd, pd.diff_weights_desc(), dnnl::convolution_backward_weights(pd));
      break;
    }
  }
  if (ready.weights != ready.user_weights) {
    const bool out = p.direction == Conv2dProblem::Direction::backward_weights;
    ready.reorder = dnnl::reorder(dnnl::reorder::primitive_desc(engine(), out ? ready.weights : ready.user_weights,
                                                                engine(), out ? ready.user_weights : ready.weights));
  }
  return ready;
}

Key conv_key(const Conv2dProblem& p) {
  const Conv2dParams& c = p.params;
  return {kConv,
          static_cast<std::int64_t>(p.direction),
          team(),
          p.n(),
          p.h(),
          p.width(),
          p.ci(),
          p.kh(),
          p.kw(),
          p.co(),
          p.ho(),
          p.wo(),
          c.stride.h,
          c.stride.w,
          c.dilation.h,
          c.dilation.w,
          c.padding.top,
          c.padding.left,
          c.groups,
          p.bias.has_value(),
          p.dbias.has_value(),
          fuses(p.activation.kind) ? static_cast<std::int64_t>(p.activation.kind) : 0,
          slope_key(p.activation)};
}

}  // namespace

const char* conv2d_declines(const Conv2dProblem& p) {
  if (const char* reason = needs_cpu_f32(p.out)) return reason;
  // 2.6.3 on AVX2, 3×14×14×3 to 33 channels, stride 2: most elements wrong by a factor (the agreement test shows it).
  if (p.direction == Conv2dProblem::Direction::backward_weights && p.params.groups == 1 && p.kh() == 1 && p.kw() == 1 &&
      p.params.stride != Size2{1, 1}) {
    return "wrong weight gradients of 1x1 at stride 2";
  }
  return nullptr;
}

void conv2d_run(const Conv2dProblem& p) {
  guarded("conv2d", [&] {
    const Key key = conv_key(p);
    const auto ready = kept_primitive(key, [&] { return make_conv(p); });
    const std::int64_t rows = p.n() * p.ho() * p.wo();
    std::unordered_map<int, memory> args;
    switch (p.direction) {
      case Conv2dProblem::Direction::forward: {
        const PreparedWeights weights = prepare_weights(*ready, p.w, key, rows);
        args = {{DNNL_ARG_SRC, wrap(ready->src, p.x.data)},
                {DNNL_ARG_WEIGHTS, weights.value},
                {DNNL_ARG_DST, wrap(ready->dst, p.out.data)}};
        if (p.bias) args[DNNL_ARG_BIAS] = wrap(ready->bias, p.bias->data);
        execute(*ready, args);
        break;
      }
      case Conv2dProblem::Direction::backward_data: {
        const PreparedWeights weights = prepare_weights(*ready, p.w, key, rows);
        args = {{DNNL_ARG_DIFF_DST, wrap(ready->dst, p.y.data)},
                {DNNL_ARG_WEIGHTS, weights.value},
                {DNNL_ARG_DIFF_SRC, wrap(ready->src, p.out.data)}};
        execute(*ready, args);
        break;
      }
      case Conv2dProblem::Direction::backward_weights: {
        const memory user = wrap(ready->user_weights, p.out.data);
        const memory gradient =
            ready->reorder ? wrap(ready->weights, scratch(ScratchSlot::caller, (ready->weights.get_size() + 3) / 4))
                           : user;
        args = {{DNNL_ARG_SRC, wrap(ready->src, p.x.data)},
                {DNNL_ARG_DIFF_DST, wrap(ready->dst, p.y.data)},
                {DNNL_ARG_DIFF_WEIGHTS, gradient}};
        if (p.dbias) args[DNNL_ARG_DIFF_BIAS] = wrap(ready->bias, p.dbias->data);
        execute(*ready, args);
        if (ready->reorder) run_reorder(*ready, gradient, user);
        break;
      }
    }
  });
  if (!fuses(p.activation.kind)) activation_forward(p.activation, p.out, p.out);
}

}  // namespace fovea::kernels::onednn

#endif  // FOVEA_ONEDNN
