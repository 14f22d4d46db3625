//! The two passes over a message, on vectors of several blocks: one text for every width of vector.
//!
//! The instructions of a width stand in a module of their own as functions of one line, beside `LANES` (blocks
//! of a vector), `GROUP` (vectors that are multiplied before one reduction) and `Vector`; [`wide_kernel`]
//! stands on them. It is a macro because the attribute that allows instructions takes no generic parameter.

/// The kernel of the module that it stands in; `$features` is what its instructions need.
macro_rules! wide_kernel {
    ($features:literal) => {
        use zerocopy::transmute;
        use zeroize::{Zeroize, ZeroizeOnDrop};

        use super::narrow::{self, RoundKeys, ZERO, dot};
        use crate::crypto::{Nonce, Tag};

        /// Bytes of a vector.
        const WIDTH: usize = 16 * LANES;
        /// Vectors that are encrypted side by side, to hide the latency of a round.
        const STREAMS: usize = 8;

        /// A vector in memory.
        type Bytes = [u8; WIDTH];

        /// Encrypts `plain` into `cipher`, which is as long, and returns the tag.
        #[target_feature(enable = $features)]
        pub(super) fn seal(
            key: &RoundKeys,
            nonce: &Nonce,
            aad: &[u8],
            plain: &[u8],
            cipher: &mut [u8],
        ) -> Tag {
            let (authentication, encryption) = derive_keys(key, nonce);
            let powers = Powers::of(authentication, aad.len().max(plain.len()));
            let encryption = RoundKeys::expand(encryption);
            let mut hash = Polyval::of_aad(&powers, aad);
            let (vectors, rest) = plain.as_chunks();
            hash.update(vectors);
            let hash = hash.finish(rest, narrow::length_block(aad, plain));
            let tag = narrow::tag(&encryption, hash, nonce);
            Keystream::from_block(&encryption, narrow::first_counter(tag)).apply(plain, cipher, |_| ());
            transmute!(tag)
        }

        /// Decrypts `cipher` into `plain`, which is as long, and tells whether `tag` is the tag of the result.
        #[target_feature(enable = $features)]
        pub(super) fn open(
            key: &RoundKeys,
            nonce: &Nonce,
            aad: &[u8],
            cipher: &[u8],
            tag: &Tag,
            plain: &mut [u8],
        ) -> bool {
            let (authentication, encryption) = derive_keys(key, nonce);
            let powers = Powers::of(authentication, aad.len().max(plain.len()));
            let encryption = RoundKeys::expand(encryption);
            let mut hash = Polyval::of_aad(&powers, aad);
            let tag = transmute!(*tag);
            Keystream::from_block(&encryption, narrow::first_counter(tag))
                .apply(cipher, plain, |vectors| hash.update(vectors));
            let (_, rest) = plain.as_chunks::<WIDTH>();
            let hash = hash.finish(rest, narrow::length_block(aad, plain));
            narrow::equal(tag, narrow::tag(&encryption, hash, nonce))
        }

        /// `derive_keys` of RFC 8452, section 4: the message-authentication key and both halves of the
        /// message-encryption key. They come from blocks like those of the keystream, of which the nonce is the
        /// constant part.
        #[inline]
        #[target_feature(enable = $features)]
        fn derive_keys(key: &RoundKeys, nonce: &Nonce) -> (Block, [Block; 2]) {
            const VECTORS: usize = 6_usize.div_ceil(LANES);
            let mut first = [0; 16];
            first[4..].copy_from_slice(nonce);
            let vectors = Keystream::from_block(key, transmute!(first)).next_vectors::<VECTORS>();
            let blocks: [Block; LANES * VECTORS] = transmute!(vectors);
            narrow::derived_keys(*blocks.first_chunk().expect("the vectors have six blocks"))
        }

        /// Counter blocks, encrypted. The counter is the number in the first 32 bits, and wraps there.
        struct Keystream<'a> {
            key: &'a RoundKeys,
            counters: Vector,
        }

        impl<'a> Keystream<'a> {
            #[inline]
            #[target_feature(enable = $features)]
            fn from_block(key: &'a RoundKeys, first: Block) -> Self {
                Self { key, counters: add32(splat(first), lane_numbers()) }
            }

            /// Adds itself to `input`. `written` sees all whole vectors of the output, in order.
            #[inline]
            #[target_feature(enable = $features)]
            fn apply(mut self, input: &[u8], output: &mut [u8], mut written: impl FnMut(&[Bytes])) {
                let (input, input_rest) = input.as_chunks::<WIDTH>();
                let (output, output_rest) = output.as_chunks_mut::<WIDTH>();
                let (input_many, input) = input.as_chunks::<STREAMS>();
                let (output_many, output) = output.as_chunks_mut::<STREAMS>();
                let mut previous: &[Bytes] = &[];
                for (input, output) in input_many.iter().zip(output_many) {
                    self.add_to(input, output);
                    // One behind, so that it does not read what was stored just now.
                    written(previous);
                    previous = output;
                }
                written(previous);
                for (input, output) in input.as_chunks().0.iter().zip(output.as_chunks_mut().0) {
                    self.add_to::<1>(input, output);
                }
                written(output);
                if !input_rest.is_empty() {
                    let [vector] = self.next_vectors();
                    let added: Bytes = transmute!(xor(vector, zero_padded(input_rest)));
                    copy_blocks(&added[..input_rest.len()], output_rest);
                }
            }

            /// Adds the next `N` vectors of itself to `input`.
            #[inline]
            #[target_feature(enable = $features)]
            fn add_to<const N: usize>(&mut self, input: &[Bytes; N], output: &mut [Bytes; N]) {
                let vectors = self.next_vectors::<N>();
                for ((vector, input), output) in vectors.iter().zip(input).zip(output) {
                    *output = transmute!(xor(*vector, transmute!(*input)));
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn next_vectors<const N: usize>(&mut self) -> [Vector; N] {
                let [first, middle @ .., last] = &self.key.0;
                let mut vectors = [self.counters; N];
                for vector in &mut vectors {
                    *vector = xor(self.counters, splat(*first));
                    self.counters = add32(self.counters, next_vector());
                }
                for key in middle {
                    for vector in &mut vectors {
                        *vector = aes_round(*vector, splat(*key));
                    }
                }
                for vector in &mut vectors {
                    *vector = aes_last_round(*vector, splat(*last));
                }
                vectors
            }
        }

        /// Powers of the message-authentication key, H.
        #[derive(Zeroize, ZeroizeOnDrop)]
        struct Powers {
            /// H^(2 * LANES) down to H, then zeros: from any place on, the factors of a vector's lanes.
            descending: [Block; 3 * LANES],
            /// H^LANES, H^(2 * LANES) and so on, as many as there are vectors to multiply at once.
            strides: [Block; GROUP],
        }

        impl Powers {
            /// The powers of `h` for strings of at most `len` bytes.
            #[inline]
            #[target_feature(enable = $features)]
            fn of(h: Block, len: usize) -> Self {
                const COUNT: usize = 2 * LANES;
                let mut this = Self { descending: [ZERO; 3 * LANES], strides: [ZERO; GROUP] };
                let Self { descending, strides } = &mut this;
                descending[COUNT - 1] = h;
                for i in 2..=COUNT {
                    descending[COUNT - i] = dot(descending[COUNT - i / 2], descending[COUNT - i.div_ceil(2)]);
                }
                (strides[0], strides[1]) = (descending[LANES], descending[0]);
                for i in 3..=GROUP.min(len / WIDTH) {
                    strides[i - 1] = dot(strides[i / 2 - 1], strides[i.div_ceil(2) - 1]);
                }
                this
            }

            /// The factors of the lanes of a vector, if the first lane has `blocks` blocks behind it and itself.
            /// Lanes behind the last block get zero.
            #[inline]
            #[target_feature(enable = $features)]
            fn of_lanes(&self, blocks: usize) -> Vector {
                let from = &self.descending[2 * LANES - blocks..];
                transmute!(*from.first_chunk::<LANES>().expect("zeros stand behind the last power"))
            }

            /// H^(LANES * vectors) in every lane.
            #[inline]
            #[target_feature(enable = $features)]
            fn stride(&self, vectors: usize) -> Vector {
                splat(self.strides[vectors - 1])
            }
        }

        /// POLYVAL (RFC 8452, section 3): one Horner scheme in each lane, over the vectors, which meet in the end.
        struct Polyval<'a> {
            powers: &'a Powers,
            /// The value of each lane, not yet multiplied for its last vector.
            lanes: Vector,
        }

        impl<'a> Polyval<'a> {
            /// Begins with the associated data. It stands behind so many zero blocks, which change nothing, that
            /// the plaintext begins with a vector.
            #[inline]
            #[target_feature(enable = $features)]
            fn of_aad(powers: &'a Powers, aad: &[u8]) -> Self {
                let lead = aad.len().next_multiple_of(16) % WIDTH;
                let (first, aad) = aad.split_at(lead.min(aad.len()));
                let mut lanes = [[0; 16]; LANES];
                copy_blocks(first, lanes[LANES - lead / 16..].as_flattened_mut());
                let mut this = Self { powers, lanes: transmute!(lanes) };
                let (vectors, rest) = aad.as_chunks();
                this.update(vectors);
                if !rest.is_empty() {
                    this.add(&[transmute!(zero_padded(rest))]);
                }
                this
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn update(&mut self, vectors: &[Bytes]) {
                let (groups, rest) = vectors.as_chunks::<GROUP>();
                for group in groups {
                    self.add(group);
                }
                if !rest.is_empty() {
                    self.add(rest);
                }
            }

            /// Adds 1 to `GROUP` vectors, with one reduction.
            #[inline]
            #[target_feature(enable = $features)]
            fn add(&mut self, vectors: &[Bytes]) {
                let mut sum = Product::of(self.lanes, self.powers.stride(vectors.len()));
                let (last, others) = vectors.split_last().expect("a group has a vector");
                for (i, vector) in others.iter().enumerate() {
                    sum.add(transmute!(*vector), self.powers.stride(vectors.len() - 1 - i));
                }
                self.lanes = xor(sum.reduce(), transmute!(*last));
            }

            /// Ends with the last bytes, less than a vector, and the lengths.
            #[inline]
            #[target_feature(enable = $features)]
            fn finish(mut self, rest: &[u8], lengths: [u8; 16]) -> Block {
                let mut padded: [[u8; 16]; LANES] = transmute!(zero_padded(rest));
                let mut blocks = rest.len().div_ceil(16);
                if blocks == LANES {
                    self.add(&[transmute!(padded)]);
                    (padded, blocks) = ([[0; 16]; LANES], 0);
                }
                padded[blocks] = lengths;
                blocks += 1;
                let mut sum = Product::of(self.lanes, self.powers.of_lanes(LANES + blocks));
                sum.add(transmute!(padded), self.powers.of_lanes(blocks));
                sum_lanes(sum.reduce())
            }
        }

        /// A vector of up to `WIDTH` bytes, and zeros.
        #[inline]
        #[target_feature(enable = $features)]
        fn zero_padded(bytes: &[u8]) -> Vector {
            let mut padded = [0; WIDTH];
            copy_blocks(bytes, &mut padded);
            transmute!(padded)
        }

        /// Copies less than a vector, block by block: a call of `memcpy` would cost as much as encrypting it.
        #[inline]
        #[target_feature(enable = $features)]
        fn copy_blocks(from: &[u8], to: &mut [u8]) {
            let (blocks, rest) = from.as_chunks::<16>();
            let (places, _) = to.as_chunks_mut::<16>();
            for i in 0..LANES {
                if let (Some(block), Some(place)) = (blocks.get(i), places.get_mut(i)) {
                    *place = *block;
                }
            }
            if !rest.is_empty() {
                to[16 * blocks.len()..][..rest.len()].copy_from_slice(rest);
            }
        }

        /// Sums of products, 256 bits in each lane: `high * x^128 + middle * x^64 + low`.
        struct Product {
            low: Vector,
            middle: Vector,
            high: Vector,
        }

        impl Product {
            #[inline]
            #[target_feature(enable = $features)]
            fn of(a: Vector, b: Vector) -> Self {
                let middle = xor(clmul::<0x01>(a, b), clmul::<0x10>(a, b));
                Self { low: clmul::<0x00>(a, b), middle, high: clmul::<0x11>(a, b) }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn add(&mut self, a: Vector, b: Vector) {
                let other = Self::of(a, b);
                self.low = xor(self.low, other.low);
                self.middle = xor(self.middle, other.middle);
                self.high = xor(self.high, other.high);
            }

            /// Divides by x^128 modulo the polynomial, as [`dot`] does.
            #[inline]
            #[target_feature(enable = $features)]
            fn reduce(self) -> Vector {
                let polynomial = splat(narrow::polynomial());
                let cleared = clmul::<0x00>(self.low, polynomial);
                let middle = xor(xor(self.middle, swap_halves(self.low)), cleared);
                let cleared = clmul::<0x00>(middle, polynomial);
                xor(xor(self.high, swap_halves(middle)), cleared)
            }
        }
    };
}
pub(super) use wide_kernel;
