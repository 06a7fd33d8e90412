// The colours of maps and changes.

/** Plotly's magma: 256 colours as rrggbb, perceptually uniform. */
const MAGMA = hex("00000401010602010803020a03020c04030e05031006041207041408051608051809061a0a061c0b071e0c07200d08220e08240e09260f0a28100a2a110b2c120b2e130c30130c32140d34150d36160e38170e3a180f3c190f3e1b0f401c0f421e0f441f0f46210f48220f4a240f4c250f4e270f50290f522a0f542c0f562d0f582f0f5b300f5d320f5f330f61350f63370f65380f673a0f693b0f6b3d0f6d3e0f6f400f71410f73430f75450f764610774810774911774b11784d12784e137850137952147953147a55157a56157a58167b5a177b5b177c5d187c5f187c60197d62197d631a7e651a7e671b7e681c7f6a1c7f6c1d7f6d1d806f1e80701e81721f817420817520817721817821817a22817b22817d23817e24808024808225808325808526808626808827808927808b28808c29808e2980902a80912a80932b80942b7f962c7f972d7f992d7f9a2e7f9c2e7f9d2f7f9f2f7fa1307ea2317ea4317da6327da7327ca9337cab347bac347bae357ab0357ab13679b33779b53778b63878b83877ba3977bb3a76bd3a76bf3b75c03b75c23c74c43d74c53d73c73e73c93e72ca3f72cc4071cd4071cf4270d0436fd1446fd3456ed4466dd5476dd6486cd8496bd94b6ada4c6adb4d69dd4e68de4f68df5067e05166e25265e35465e45564e65663e75763e85862e95961eb5a61ec5b60ed5d5fee5e5ef05f5ef1605df1625df2645ef2665ef3685ff36a5ff46b5ff46d60f46f60f57160f57361f67561f67762f77962f77b62f77d63f87e63f88064f98264f98464f98665fa8865fa8a66fb8c66fb8e66fc9067fc9267fc9367fd9568fd9769fd996afd9b6bfd9d6dfd9f6efda06ffda271fda472fda673fda875fdaa76fdab77fdad79fdaf7afeb17bfeb37cfeb57efeb67ffeb880feba82febc83febe84fec086fec187fec388fec58afec78bfec98cfecb8efecc8ffece91fed093fed295fed496fed598fdd79afdd99cfddb9dfddd9ffddea1fde0a3fde2a5fde4a6fde6a8fde7aafde9acfdebadfdedaffdefb1fcf0b3fcf2b4fcf4b6fcf6b8fcf8bafcf9bbfcfbbdfcfdbf");
/** From less to more, grey where nothing changes. */
const LESS = [33, 102, 172];
const NONE = [128, 128, 128];
const MORE = [178, 24, 43];

function hex(text) {
  return Uint8ClampedArray.from(text.match(/../g), (pair) => parseInt(pair, 16));
}

/** [r, g, b] of a value in [0, 1]. */
export function magma(value) {
  const at = 3 * Math.round(255 * Math.min(Math.max(value, 0), 1));
  return MAGMA.subarray(at, at + 3);
}

/** [r, g, b] of a value in [-1, 1]. */
export function diverging(value) {
  const end = value < 0 ? LESS : MORE;
  const share = Math.min(Math.abs(value), 1);
  return NONE.map((grey, i) => grey + share * (end[i] - grey));
}
