/**
 * What ties a piece of evidence to one request: the binding names everything that the evidence is good for, and each
 * device signs a value derived from it under its own label (docs/spec/release-protocol.md, RP-17). All members have
 * a fixed length, so no two different inputs have the same bytes.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { toUtf8 } from './bytes.ts';
import { constantBytes, encode, fixedBytes, structure } from './layout.ts';

/** Length in bytes of an X-Wing (ML-KEM-768 + X25519) public key. */
export const AGENT_PUBLIC_KEY_BYTES = 1216;

const LABEL_BYTES = 32;

/** A label in 32 bytes, filled with zeros. @throws RefusalError `layout-value` if it is longer */
export function paddedLabel(label: string): Uint8Array {
  const text = toUtf8(label);
  const padding = new Uint8Array(Math.max(0, LABEL_BYTES - text.length));
  return encode(fixedBytes(LABEL_BYTES), Uint8Array.from([...text, ...padding]), 'label');
}

/** The label of a device class, 32 bytes: under it a device signs, and as it stands among companions. */
export function deviceLabel(deviceClass: string): Uint8Array {
  return paddedLabel(`weightgate/device/${deviceClass}/v1`);
}

const BINDING_LABEL = paddedLabel('weightgate/binding/v1');

const bindingLayout = structure({
  label: constantBytes(BINDING_LABEL),
  challengeNonce: fixedBytes(32),
  agentKeyDigest: fixedBytes(32),
  labDigest: fixedBytes(32),
  manifestDigest: fixedBytes(32),
  inferencePolicyDigest: fixedBytes(32),
  logOriginDigest: fixedBytes(32),
});

/** Everything that one collection of evidence is good for. */
export interface BindingInputs {
  /** The server's nonce, 32 bytes. */
  readonly challengeNonce: Uint8Array;
  /** The agent's fresh X-Wing public key, 1216 bytes. */
  readonly agentPublicKey: Uint8Array;
  /** Identifier of the lab that asks. */
  readonly lab: string;
  /** SHA-256 of the model manifest's statement, 32 bytes. */
  readonly manifestDigest: Uint8Array;
  /** SHA-256 of the inference policy's canonical JSON, 32 bytes. */
  readonly inferencePolicyDigest: Uint8Array;
  /** Origin of the server's log. */
  readonly logOrigin: string;
}

/** The binding, 32 bytes. @throws RefusalError `layout-value` when an input has the wrong length */
export function computeBinding(inputs: BindingInputs): Uint8Array {
  const agentPublicKey = encode(
    fixedBytes(AGENT_PUBLIC_KEY_BYTES),
    inputs.agentPublicKey,
    'binding.agentPublicKey',
  );
  const members = {
    label: BINDING_LABEL,
    challengeNonce: inputs.challengeNonce,
    agentKeyDigest: sha256(agentPublicKey),
    labDigest: sha256(toUtf8(inputs.lab)),
    manifestDigest: inputs.manifestDigest,
    inferencePolicyDigest: inputs.inferencePolicyDigest,
    logOriginDigest: sha256(toUtf8(inputs.logOrigin)),
  };
  return sha256(encode(bindingLayout, members, 'binding'));
}

const deviceValueLayout = structure({
  label: fixedBytes(LABEL_BYTES),
  binding: fixedBytes(32),
  identity: fixedBytes(32),
});

/**
 * The value that one device has to sign, 32 bytes.
 *
 * @param deviceClass name of the device class, for example `tpm`
 * @param binding from {@link computeBinding}, 32 bytes
 * @param identity 32 bytes that name the device; for `tpm` the SHA-256 of the attestation key's Name
 * @throws RefusalError `layout-value` when an input has the wrong length
 */
export function computeDeviceValue(
  deviceClass: string,
  binding: Uint8Array,
  identity: Uint8Array,
): Uint8Array {
  const members = { label: deviceLabel(deviceClass), binding, identity };
  return sha256(encode(deviceValueLayout, members, 'deviceValue'));
}
