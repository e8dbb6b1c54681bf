/**
 * What was found out about certificates and documents and need not be found out again. Reading and verifying a signature
 * give the same result each time, whatever the clock, the anchors and the policy say, so that a verdict does not depend on
 * what is remembered: only the time that it takes does (W10). The caller owns a memory and hands it to each verification.
 */

import { equalBytes } from './bytes.ts';
import type { JsonValue } from './canonical-json.ts';

/** A few kilobytes each. */
const DEFAULT_CAPACITY = 4096;
/** Certificates and lists end in their signature, and keys in their last coordinate. */
const LAST_BYTES = 32;
/** Signed documents may end alike: so many bytes of the whole tell those of one length apart, mostly. */
const SAMPLES = 64;

interface Remembered {
  readonly bytes: Uint8Array;
  readonly value: object;
}

export class CertificateMemory {
  private readonly capacity: number;
  private readonly values = new Map<string, Remembered>();
  private readonly signed = new WeakMap<object, WeakSet<object>>();
  private readonly documents = new WeakMap<object, Map<(document: JsonValue) => object, object>>();

  /** @param capacity how many values are kept; the oldest goes first */
  constructor(capacity = DEFAULT_CAPACITY) {
    this.capacity = capacity;
  }

  /**
   * What a reader makes of the bytes.
   *
   * @param reader its name: other readers make other values of the same bytes
   * @param read is given a copy, which nobody else can change
   * @throws what `read` throws; a refusal is not remembered
   */
  read<Value extends object>(reader: string, bytes: Uint8Array, read: (bytes: Uint8Array) => Value): Value {
    const place = `${reader} ${bytes.length} ${fingerprint(bytes)}`;
    const known = this.values.get(place);
    if (known !== undefined && equalBytes(known.bytes, bytes)) return known.value as Value;
    const copy = bytes.slice();
    const value = read(copy);
    this.keep(place, { bytes: copy, value });
    return value;
  }

  /**
   * Whether the signature of one value by the key of another holds. Both are values of {@link read}, which never change.
   *
   * @param verify a signature that does not hold is verified again each time
   */
  async holds(subject: object, issuer: object, verify: () => Promise<boolean>): Promise<boolean> {
    const issuers = this.signed.get(subject) ?? new WeakSet();
    if (issuers.has(issuer)) return true;
    const holds = await verify();
    if (holds) this.signed.set(subject, issuers.add(issuer));
    return holds;
  }

  /**
   * What a reader makes of one of the verifier's own documents, such as its policy. Known by the object and not by what it
   * holds: who hands in a memory does not change documents afterwards.
   *
   * @throws what `read` throws; a refusal is not remembered
   */
  readDocument<Value extends object>(document: JsonValue, read: (document: JsonValue) => Value): Value {
    if (typeof document !== 'object' || document === null) return read(document);
    const readings = this.documents.get(document) ?? new Map<(document: JsonValue) => object, object>();
    const known = readings.get(read);
    if (known !== undefined) return known as Value;
    const value = read(document);
    this.documents.set(document, readings.set(read, value));
    return value;
  }

  private keep(place: string, remembered: Remembered): void {
    const [oldest] = this.values.keys();
    if (this.values.size >= this.capacity && oldest !== undefined) this.values.delete(oldest);
    this.values.set(place, remembered);
  }
}

/**
 * Remembers what follows from an object alone, as long as the object lives. Only for objects that nobody changes; what a
 * memory recalls is the same object again.
 *
 * @param derive what it throws is not remembered
 */
export function oncePer<Source extends object, Value extends object | string>(
  derive: (source: Source) => Value,
): (source: Source) => Value {
  const derived = new WeakMap<Source, Value>();
  return (source) => {
    const known = derived.get(source);
    if (known !== undefined) return known;
    const value = derive(source);
    derived.set(source, value);
    return value;
  };
}

/** Reads through the memory, where there is one. */
export function remembered<Value extends object>(
  memory: CertificateMemory | undefined,
  reader: string,
  bytes: Uint8Array,
  read: (bytes: Uint8Array) => Value,
): Value {
  return memory === undefined ? read(bytes) : memory.read(reader, bytes, read);
}

/** Reads one of the verifier's own documents through the memory, where there is one. */
export function rememberedDocument<Value extends object>(
  memory: CertificateMemory | undefined,
  document: JsonValue,
  read: (document: JsonValue) => Value,
): Value {
  return memory === undefined ? read(document) : memory.readDocument(document, read);
}

/**
 * Where to look (FNV-1a of 32 bits). It identifies nothing: what is found there is compared whole, and of bytes that are
 * made to collide only the last are kept.
 */
function fingerprint(bytes: Uint8Array): number {
  const lastBytes = Math.max(0, bytes.length - LAST_BYTES);
  const stride = Math.max(1, Math.floor(lastBytes / SAMPLES));
  let hash = 0x811c9dc5;
  for (let i = 0; i < bytes.length; i += i < lastBytes ? stride : 1) {
    hash = Math.imul(hash ^ (bytes[i] ?? 0), 0x01000193);
  }
  return hash;
}
