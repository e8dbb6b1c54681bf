/** One session with a token: what custody does in it, one operation at a time. */

import { offHeapBytes } from '../memory/mapping.ts';
import type { Cryptoki, FunctionName } from './library.ts';
import { pkcs11ContentRefusals } from './refusals.ts';
import type { Argument } from '../nvml/serial-calls.ts';
import {
  type AttributeValue,
  attributeRequest,
  attributeTemplate,
  GCM_IV_BYTES,
  GCM_TAG_BYTES,
  gcmMechanism,
  ivOf,
  Mechanism,
  plainMechanism,
  readAttributes,
  readCount,
  readUlong,
  ULONG_BYTES,
  ulongRoom,
} from './structures.ts';

/** More objects under one label than custody ever makes. */
const MAX_OBJECTS = 256;

/** Beyond what encryption adds, so that a token that adds more shows itself. */
const SPARE_BYTES = 64;

/** What AES-GCM makes of a plaintext. */
export interface GcmCiphertext {
  readonly iv: Uint8Array;
  /** Ciphertext and then the tag of 16 bytes. */
  readonly ciphertext: Uint8Array;
}

/** All methods throw RefusalError `pkcs11-*`. */
export class Pkcs11Session {
  readonly handle: bigint;
  private readonly library: Cryptoki;

  constructor(library: Cryptoki, handle: bigint) {
    this.library = library;
    this.handle = handle;
  }

  private call(name: FunctionName, ...values: readonly Argument[]): Promise<void> {
    return this.library.call(name, [this.handle, ...values]);
  }

  /** Handles of the objects with all these attributes, good for this session. */
  async find(attributes: readonly AttributeValue[]): Promise<readonly bigint[]> {
    await this.call('C_FindObjectsInit', attributeTemplate(attributes), BigInt(attributes.length));
    try {
      const handles = offHeapBytes(MAX_OBJECTS * ULONG_BYTES);
      const count = ulongRoom();
      await this.call('C_FindObjects', handles, BigInt(MAX_OBJECTS), count);
      return Array.from({ length: readCount(count, 'C_FindObjects', MAX_OBJECTS) }, (_, i) =>
        readUlong(handles.subarray(i * ULONG_BYTES, (i + 1) * ULONG_BYTES), 'C_FindObjects'),
      );
    } finally {
      await this.call('C_FindObjectsFinal');
    }
  }

  /** @param wanted attributes with the most bytes that each may have */
  async attributes(
    object: bigint,
    wanted: readonly (readonly [type: number, bytes: number])[],
  ): Promise<readonly Uint8Array[]> {
    const request = attributeRequest(wanted);
    await this.call('C_GetAttributeValue', object, request, BigInt(wanted.length));
    return readAttributes(request, wanted, 'C_GetAttributeValue');
  }

  /** Makes an AES key on the token. */
  async generateAesKey(attributes: readonly AttributeValue[]): Promise<void> {
    const template = attributeTemplate(attributes);
    const handle = ulongRoom();
    const mechanism = plainMechanism(Mechanism.aesKeyGeneration);
    await this.call('C_GenerateKey', mechanism, template, BigInt(attributes.length), handle);
  }

  async destroy(object: bigint): Promise<void> {
    await this.call('C_DestroyObject', object);
  }

  async random(bytes: number): Promise<Uint8Array> {
    const room = offHeapBytes(bytes);
    await this.call('C_GenerateRandom', room, BigInt(bytes));
    return room;
  }

  /** Encrypts under a new random IV. A token that insists on an IV of its own writes it over the one it was given. */
  async encryptGcm(key: bigint, plaintext: Uint8Array, associatedData: Uint8Array): Promise<GcmCiphertext> {
    const mechanism = gcmMechanism(await this.random(GCM_IV_BYTES), associatedData);
    await this.call('C_EncryptInit', mechanism, key);
    const expected = plaintext.length + GCM_TAG_BYTES;
    const ciphertext = await this.transform('C_Encrypt', plaintext, expected);
    return { iv: ivOf(mechanism), ciphertext };
  }

  /** @returns the plaintext; the caller zeroes it @throws RefusalError `pkcs11-ciphertext`, `pkcs11-*` */
  async decryptGcm(
    key: bigint,
    { iv, ciphertext }: GcmCiphertext,
    associatedData: Uint8Array,
  ): Promise<Uint8Array> {
    await this.call('C_DecryptInit', gcmMechanism(iv, associatedData), key);
    return await this.transform('C_Decrypt', ciphertext, ciphertext.length - GCM_TAG_BYTES);
  }

  private async transform(
    name: 'C_Encrypt' | 'C_Decrypt',
    input: Uint8Array,
    expectedBytes: number,
  ): Promise<Uint8Array> {
    const room = offHeapBytes(input.length + SPARE_BYTES);
    const length = ulongRoom(BigInt(room.length));
    try {
      await this.call(name, input, BigInt(input.length), room, length);
      const bytes = readUlong(length, name);
      if (bytes === BigInt(expectedBytes)) return room.slice(0, expectedBytes);
      throw pkcs11ContentRefusals.error('pkcs11-answer', {
        field: name,
        expected: `${expectedBytes} bytes`,
        found: `${bytes} bytes`,
      });
    } finally {
      room.fill(0);
    }
  }

  async close(): Promise<void> {
    await this.call('C_CloseSession');
  }
}
