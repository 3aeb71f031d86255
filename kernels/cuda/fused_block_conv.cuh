// The convolution of one image that lies in shared memory, stride 1, and its weight gradient: device
// functions for a whole block. With constant sizes the compiler folds them in.
#pragma once

#include "evenkeel/kernels/cuda/conv2d_direct.cuh"
#include "evenkeel/kernels/cuda/conv2d_weight.cuh"

namespace evenkeel::cuda {

/// The planes of an image in shared memory, each `border` elements wider on every side: plane stride and
/// place of pixel (0, 0). A tile has `slack` rows after its end, as strips of rows may reach past it; what is
/// read there is never used.
struct ImageTile {
  int planes, height, width, border;

  static constexpr int kSlack = 4;
  EK_HOST_DEVICE constexpr int pitch() const { return width + 2 * border; }
  EK_HOST_DEVICE constexpr int plane() const { return (height + 2 * border) * pitch(); }
  EK_HOST_DEVICE constexpr int elements() const { return planes * plane() + kSlack * pitch(); }
  EK_HOST_DEVICE constexpr int first() const { return border * pitch() + border; }
};

/// x [C, H, W] -> z [K, P, Q], filters [K, C, R, R].
struct ImageConv {
  int C, H, W, K, R, pad;

  EK_HOST_DEVICE constexpr int P() const { return H + 2 * pad - R + 1; }
  EK_HOST_DEVICE constexpr int Q() const { return W + 2 * pad - R + 1; }
  EK_HOST_DEVICE constexpr int x_elements() const { return C * H * W; }
  EK_HOST_DEVICE constexpr int z_elements() const { return K * P() * Q(); }
  EK_HOST_DEVICE constexpr int weights() const { return K * C * R * R; }
  EK_HOST_DEVICE static constexpr int in_quads(int n) { return (n + kQuad - 1) / kQuad * kQuad; }
  /// x, and dz with the border that the input gradient needs, in whole quads of planes.
  EK_HOST_DEVICE constexpr ImageTile x_tile() const { return {C, H, W, pad}; }
  EK_HOST_DEVICE constexpr ImageTile dz_tile() const { return {in_quads(K), P(), Q(), R - 1 - pad}; }
  /// The filters as the convolution and as the input gradient read them: [C][R R][K], [K][R R][C].
  EK_HOST_DEVICE constexpr int filter_tile() const { return C * R * R * in_quads(K); }
  EK_HOST_DEVICE constexpr int turned_filter_tile() const { return K * R * R * in_quads(C); }
};

/// The threads of a block of the fused kernels; other kernels on these functions have blocks of other sizes.
inline constexpr int kFusedThreads = 256;
inline constexpr int kMostImageWarps = 16;  // of a block on an image

__device__ __forceinline__ int block_thread() { return static_cast<int>(threadIdx.x); }
__device__ __forceinline__ int block_threads() { return static_cast<int>(blockDim.x); }

/// Which of the blocks that share the work on an image this one is, and how many they are.
struct Part {
  int rank = 0, of = 1;

  /// Where the part of `count` units begins; the next one's is where it ends.
  EK_HOST_DEVICE int begin(int count) const { return count * rank / of; }
  EK_HOST_DEVICE int end(int count) const { return count * (rank + 1) / of; }
};

/// tile [c][tap][filter] = weight(filter, c, tap), or with TURNED weight(c, filter, R R - 1 - tap); zeros
/// past the last of `filters`. Call: all threads. Bytes: the weights once, from the L2 cache.
template <int R, bool TURNED, typename T>
__device__ __forceinline__ void load_filters(T* tile, const T* weight, int channels, int filters) {
  constexpr int kTaps = R * R;
  const int width = ImageConv::in_quads(filters), count = channels * kTaps * width;
  for (int i = block_thread(); i < count; i += block_threads()) {
    const int f = i % width, tap = i / width % kTaps, c = i / width / kTaps;
    const int at = TURNED ? (c * filters + f) * kTaps + kTaps - 1 - tap : (f * channels + c) * kTaps + tap;
    tile[i] = f < filters ? weight[at] : T(0);
  }
}

/// emit(k, p, q, sum over c,r,s of filters[c][r s][k] x[c][p+r][q+s]) for all k < K, p < P, q < Q, or for a
/// part of them. x is the tile's first element, with `pitch` elements a row and `plane` a plane. Call: all
/// threads, after a barrier.
template <int R, int ROWS, typename T, typename Emit>
__device__ __forceinline__ void convolve(const T* x, int pitch, int plane, const T* filters, int C, int K,
                                         int P, int Q, const Emit& emit, Part part = {}) {
  const int strips = (P + ROWS - 1) / ROWS, width = ImageConv::in_quads(K);
  const int units = width / kQuad * strips * Q, end = part.end(units);
  for (int unit = part.begin(units) + block_thread(); unit < end; unit += block_threads()) {
    const int q = unit % Q, p = unit / Q % strips * ROWS, k = unit / Q / strips * kQuad;
    const T* const my_x = x + p * pitch + q;
    T sums[ROWS][kQuad] = {};
    EK_NO_UNROLL
    for (int c = 0; c < C; ++c)
      add_channel<R>(sums, my_x + c * plane, pitch, filters + c * R * R * width + k, width);
    EK_UNROLL
    for (int i = 0; i < ROWS; ++i) {
      EK_UNROLL
      for (int j = 0; j < kQuad; ++j) {
        if (p + i < P && k + j < K) emit(k + j, p + i, q, sums[i][j]);
      }
    }
  }
}

/// The warps' sums of image_weight_gradient(): one array of a block, whatever is emitted.
template <int R, typename T>
__device__ __forceinline__ auto& slices_of_sums() {
  SIMT_SHARED(T, sums, [kMostImageWarps][kQuad][R * R]);
  return sums;
}

/// emit(i, sum over p,q of dz[k][p][q] x[c][p+r][q+s]) for weight i = [k][c][r][s], or for a part of the
/// pairs of a channel and four filters. A thread has the R R taps of a pair; `lanes` of a warp, and slices of
/// warps where there are few filters, share the pixels and are added in a fixed order, whatever the part.
/// Call: all threads, after a barrier.
template <int R, typename T, typename Emit>
__device__ __forceinline__ void image_weight_gradient(const T* x, const T* dz, const ImageConv& s,
                                                      const Emit& emit, Part part = {}) {
  constexpr int kTaps = R * R;
  auto& slice_sums = slices_of_sums<R, T>();
  const ImageTile of_x = s.x_tile(), of_dz = s.dz_tile();
  const int P = s.P(), Q = s.Q(), pairs = ImageConv::in_quads(s.K) / kQuad * s.C;
  const int begin = part.begin(pairs), end = part.end(pairs);
  int lanes = kWarp;
  while (lanes > 1 && lanes * pairs > block_threads()) lanes /= 2;
  const int groups = block_threads() / lanes, slices = lanes == kWarp ? max(1, groups / pairs) : 1;
  const int group = block_thread() / lanes, lane = block_thread() % lanes;
  const int units = (P + kWeightRows<R> - 1) / kWeightRows<R> * Q;
  for (int first = slices > 1 ? 0 : begin; first < end; first += groups) {
    const int slice = slices > 1 ? group / pairs : 0, pair = first + (slices > 1 ? group % pairs : group);
    const int c = pair % s.C, k = pair / s.C * kQuad;
    const bool there = pair >= begin && pair < end && slice < slices;
    T sums[kQuad][kTaps] = {};
    EK_NO_UNROLL
    for (int unit = slice * lanes + lane; there && unit < units; unit += slices * lanes) {
      const int q = unit % Q, p = unit / Q * kWeightRows<R>;
      add_pixels<R>(sums, x + c * of_x.plane() + p * of_x.pitch() + q, of_x.pitch(),
                    dz + k * of_dz.plane() + of_dz.first() + p * of_dz.pitch() + q, of_dz.pitch(),
                    of_dz.plane(), P - p);
    }
    EK_NO_UNROLL
    for (int distance = lanes / 2; distance > 0; distance /= 2) {
      EK_UNROLL
      for (int i = 0; i < kQuad * kTaps; ++i)
        sums[i / kTaps][i % kTaps] += __shfl_xor_sync(kWholeWarp, sums[i / kTaps][i % kTaps], distance);
    }
    const bool leads = there && lane == 0;
    if (slices > 1) {
      EK_UNROLL
      for (int i = 0; leads && i < kQuad * kTaps; ++i)
        slice_sums[group][i / kTaps][i % kTaps] = sums[i / kTaps][i % kTaps];
      __syncthreads();
      for (int other = 1; leads && slice == 0 && other < slices; ++other) {
        EK_UNROLL
        for (int i = 0; i < kQuad * kTaps; ++i)
          sums[i / kTaps][i % kTaps] += slice_sums[other * pairs + pair][i / kTaps][i % kTaps];
      }
    }
    if (!leads || slice > 0) continue;
    EK_UNROLL
    for (int j = 0; j < kQuad; ++j) {
      EK_UNROLL
      for (int tap = 0; tap < kTaps; ++tap) {
        if (k + j < s.K) emit(((k + j) * s.C + c) * kTaps + tap, sums[j][tap]);
      }
    }
  }
}

/// How tile elements are taken apart.
struct TileShape : ImageTile {
  Divisor by_pitch, by_height;

  EK_HOST_DEVICE explicit TileShape(const ImageTile& t)
      : ImageTile(t), by_pitch(t.pitch()), by_height(t.height + 2 * t.border) {}
};

/// tile = value(element) inside, zeros in the border and in planes past `planes`.
/// Call: all threads; a barrier must follow.
template <typename T, typename Value>
__device__ __forceinline__ void fill(T* tile, const TileShape& to, int planes, const Value& value) {
  for (int i = block_thread(); i < to.planes * to.plane(); i += block_threads()) {
    int c = i;
    const int w = to.by_pitch.take_remainder(c) - to.border, h = to.by_height.take_remainder(c) - to.border;
    const bool inside = c < planes && w >= 0 && w < to.width && h >= 0 && h < to.height;
    tile[i] = inside ? value((c * to.height + h) * to.width + w) : T(0);
  }
}

}  // namespace evenkeel::cuda
