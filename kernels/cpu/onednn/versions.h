// All that differs between oneDNN 2.6 and 3.x, behind functions with one signature: in version 3 operation descriptors
// are gone and post-ops have no scale. Internal to this folder.
#pragma once

#include <oneapi/dnnl/dnnl.hpp>
#include <utility>

namespace fovea::kernels::onednn {

using dnnl::algorithm;
using dnnl::memory;
using dnnl::primitive_attr;
using dnnl::prop_kind;
using Dims = memory::dims;

/// The CPU engine, made once.
dnnl::engine& engine();

#if DNNL_VERSION_MAJOR >= 3
template <class Primitive, class... Args>
typename Primitive::primitive_desc describe(const primitive_attr& attr, Args&&... args) {
  return typename Primitive::primitive_desc(engine(), std::forward<Args>(args)..., attr);
}
template <class Primitive, class Hint, class... Args>
typename Primitive::primitive_desc describe_backward(const primitive_attr& attr, const Hint& hint, Args&&... args) {
  return typename Primitive::primitive_desc(engine(), std::forward<Args>(args)..., hint, attr);
}
inline void append_eltwise(dnnl::post_ops& ops, algorithm kind, float alpha, float beta) {
  ops.append_eltwise(kind, alpha, beta);
}
#else
template <class Primitive, class... Args>
typename Primitive::primitive_desc describe(const primitive_attr& attr, Args&&... args) {
  return typename Primitive::primitive_desc(typename Primitive::desc(std::forward<Args>(args)...), attr, engine());
}
template <class Primitive, class Hint, class... Args>
typename Primitive::primitive_desc describe_backward(const primitive_attr& attr, const Hint& hint, Args&&... args) {
  return
      typename Primitive::primitive_desc(typename Primitive::desc(std::forward<Args>(args)...), attr, engine(), hint);
}
inline void append_eltwise(dnnl::post_ops& ops, algorithm kind, float alpha, float beta) {
  ops.append_eltwise(1.0f, kind, alpha, beta);
}
#endif

}  // namespace fovea::kernels::onednn
