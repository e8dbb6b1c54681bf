import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import {
  CertificateMemory,
  oncePer,
  remembered,
  rememberedDocument,
} from '../../../attestation/core/certificate-memory.ts';

interface Read {
  readonly bytes: Uint8Array;
}

/** A reader that counts how often it is asked. */
function counting(): { readonly read: (bytes: Uint8Array) => Read; times: number } {
  const reader = {
    times: 0,
    read: (bytes: Uint8Array): Read => {
      reader.times += 1;
      return { bytes };
    },
  };
  return reader;
}

const bytes = (...values: readonly number[]): Uint8Array => Uint8Array.from(values);

describe('a memory of certificates', () => {
  it('reads the same bytes once, and other bytes or readers again', () => {
    const memory = new CertificateMemory();
    const reader = counting();
    const { read } = reader;
    const first = memory.read('a', bytes(1, 2), read);
    expect(memory.read('a', bytes(1, 2), read)).toBe(first);
    expect(memory.read('a', bytes(1, 3), read)).not.toBe(first);
    expect(memory.read('b', bytes(1, 2), read)).not.toBe(first);
    expect(reader.times).toBe(3);
  });

  it('tells all bytes apart', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 8 }), fc.uint8Array({ maxLength: 8 }), (left, right) => {
        const memory = new CertificateMemory();
        const isSame = memory.read('a', left, counting().read) === memory.read('a', right, counting().read);
        expect(isSame).toBe(Buffer.compare(left, right) === 0);
      }),
    );
    const memory = new CertificateMemory();
    const values = Array.from({ length: 256 }, (_, byte) => memory.read('a', bytes(byte), counting().read));
    expect(new Set(values).size).toBe(256);
  });

  it('keeps long documents of one length beside each other, though they end alike', () => {
    const memory = new CertificateMemory();
    const documents = [1, 2, 3].map((byte) => new Uint8Array(20_000).fill(byte, 0, 19_900));
    const values = documents.map((document) => memory.read('a', document, counting().read));
    documents.forEach((document, i) => {
      expect(memory.read('a', document, counting().read)).toBe(values[i]);
    });
  });

  it('keeps a copy, which a later change of the bytes does not reach', () => {
    const memory = new CertificateMemory();
    const given = bytes(1, 2);
    const value = memory.read('a', given, counting().read);
    given[0] = 9;
    expect(value.bytes).toEqual(bytes(1, 2));
    expect(memory.read('a', given, counting().read)).not.toBe(value);
  });

  it('does not remember a refusal', () => {
    const memory = new CertificateMemory();
    const refuse = (): Read => {
      throw new Error('refused');
    };
    expect(() => memory.read('a', bytes(1), refuse)).toThrow('refused');
    expect(memory.read('a', bytes(1), counting().read).bytes).toEqual(bytes(1));
  });

  it('keeps as many values as it may, and drops the oldest first', () => {
    const memory = new CertificateMemory(2);
    const [one, two] = [1, 2].map((byte) => memory.read('a', bytes(byte), counting().read));
    memory.read('a', bytes(3), counting().read);
    expect(memory.read('a', bytes(2), counting().read)).toBe(two);
    expect(memory.read('a', bytes(1), counting().read)).not.toBe(one);
  });

  it('verifies a signature once if it holds, each time if it does not, and for each pair', async () => {
    const memory = new CertificateMemory();
    const [subject, issuer, other] = [{}, {}, {}];
    let times = 0;
    const verify = (holds: boolean) => () => {
      times += 1;
      return Promise.resolve(holds);
    };
    expect(await memory.holds(subject, issuer, verify(false))).toBe(false);
    expect(await memory.holds(subject, issuer, verify(true))).toBe(true);
    expect(await memory.holds(subject, issuer, verify(false))).toBe(true);
    expect(times).toBe(2);
    expect(await memory.holds(subject, other, verify(false))).toBe(false);
    expect(await memory.holds(issuer, subject, verify(false))).toBe(false);
    expect(await memory.holds(subject, other, verify(true))).toBe(true);
    expect(times).toBe(5);
  });

  it('is not needed', () => {
    const reader = counting();
    const given = bytes(1);
    expect(remembered(undefined, 'a', given, reader.read).bytes).toBe(given);
    remembered(undefined, 'a', given, reader.read);
    expect(reader.times).toBe(2);
    const memory = new CertificateMemory();
    remembered(memory, 'a', given, reader.read);
    remembered(memory, 'a', given, reader.read);
    expect(reader.times).toBe(3);
  });
});

describe('a memory of documents', () => {
  const read = (document: JsonValue): { readonly of: JsonValue } => ({ of: document });

  it('reads one document once for each reader, and an equal one on its own', () => {
    const memory = new CertificateMemory();
    const document = { version: 1 };
    const first = rememberedDocument(memory, document, read);
    expect(first.of).toBe(document);
    expect(rememberedDocument(memory, document, read)).toBe(first);
    expect(rememberedDocument(memory, { version: 1 }, read)).not.toBe(first);
    expect(rememberedDocument(memory, document, (value) => ({ other: value }))).toEqual({ other: document });
    expect(rememberedDocument(memory, document, read)).toBe(first);
  });

  it('reads again without a memory, in another memory, and what is no object', () => {
    const document = { version: 1 };
    const memory = new CertificateMemory();
    const first = rememberedDocument(memory, document, read);
    expect(rememberedDocument(undefined, document, read)).not.toBe(first);
    expect(rememberedDocument(new CertificateMemory(), document, read)).not.toBe(first);
    expect(rememberedDocument(memory, 'text', read)).toEqual({ of: 'text' });
    expect(rememberedDocument(memory, null, read)).toEqual({ of: null });
  });

  it('does not remember a refusal', () => {
    const memory = new CertificateMemory();
    const document = { version: 1 };
    let times = 0;
    const refuse = (): object => {
      times += 1;
      throw new RangeError('refused');
    };
    expect(() => rememberedDocument(memory, document, refuse)).toThrow('refused');
    expect(() => rememberedDocument(memory, document, refuse)).toThrow('refused');
    expect(times).toBe(2);
  });
});

describe('what follows from an object alone', () => {
  it('is found out once for each object, and again after an error', () => {
    let times = 0;
    const lengthOf = oncePer((source: { readonly text: string }) => {
      times += 1;
      if (source.text === '') throw new RangeError('empty');
      return { length: source.text.length };
    });
    const source = { text: 'abc' };
    expect(lengthOf(source)).toEqual({ length: 3 });
    expect(lengthOf(source)).toBe(lengthOf(source));
    expect(times).toBe(1);
    expect(lengthOf({ text: 'abc' })).not.toBe(lengthOf(source));
    const empty = { text: '' };
    expect(() => lengthOf(empty)).toThrow(RangeError);
    expect(() => lengthOf(empty)).toThrow(RangeError);
    expect(times).toBe(4);
  });
});
