//! The codec of the generated code: prost's, with a look at what prost would drop in silence.

use std::marker::PhantomData;

use bytes::Buf;
use prost::{Message, Name};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::unknown::{self, Shape};

/// A [`Codec`] like tonic's own for prost, that also reports fields which the protos lack.
#[derive(Debug)]
pub struct CheckedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for CheckedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for CheckedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CheckedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(small_buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        CheckedDecoder { shape: unknown::shape::<U>(), inner: ProstDecoder::new(small_buffers()) }
    }
}

/// The decoder of a [`CheckedCodec`].
#[derive(Debug)]
pub struct CheckedDecoder<U> {
    shape: Option<&'static Shape>,
    inner: ProstDecoder<U>,
}

impl<U: Message + Name + Default> Decoder for CheckedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if let Some(shape) = self.shape {
            // tonic keeps a message in one piece, so that the first chunk is all of it; were it
            // not, a part would go unscanned and nothing worse.
            let whole = buf.chunk();
            unknown::scan(shape, &whole[..whole.len().min(buf.remaining())]);
        }
        self.inner.decode(buf)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.inner.buffer_settings()
    }
}

/// Most messages here are tens of bytes; tonic's default reserves 8 KiB for each call.
fn small_buffers() -> BufferSettings {
    BufferSettings::new(512, 32 << 10)
}
