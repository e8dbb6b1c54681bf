/** The contract's view of the class `example`, and the software device behind it. */

import { generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

import { sha256 } from '@noble/hashes/sha2.js';

import { toBase64, toHex } from '../../../attestation/core/bytes.ts';
import { NO_COMPANIONS } from '../../../attestation/core/composite/companions.ts';
import type { DeviceInputs } from '../../../attestation/core/device-class.ts';
import { exampleDeviceClass } from '../../../attestation/example/device-class.ts';
import { writeStatement } from '../../../attestation/example/layout.ts';
import type { Statement } from '../../../attestation/example/layout.ts';
import { authorityExtensions, signingUsage, writeCertificate } from '../../support/certificate-writer.ts';
import type { DeviceFixture, Document, SignedWrong } from './fixture.ts';

const ROOT = 'Example vendor root';
const MADE_AT = Date.UTC(2026, 0, 1) / 1000;
const YEAR_SECONDS = 31_536_000;

function makeRoot(): { readonly certificate: Uint8Array; readonly key: KeyObject } {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const contents = {
    issuer: ROOT,
    subject: ROOT,
    serialNumber: 1,
    notBefore: new Date(MADE_AT * 1000),
    notAfter: new Date((MADE_AT + 10 * YEAR_SECONDS) * 1000),
    publicKey: spkiOf(publicKey),
    extensions: authorityExtensions(1),
  };
  return { certificate: writeCertificate(contents, privateKey, 'rsa-pkcs1-sha256'), key: privateKey };
}

function spkiOf(key: KeyObject): Uint8Array {
  return new Uint8Array(key.export({ type: 'spki', format: 'der' }));
}

/** A device that signs whatever statement it is told. */
export interface SoftwareExampleDevice {
  readonly inputs: DeviceInputs;
  /** A statement that is right in all but the changes. */
  statement(changes?: Partial<Statement>): Statement;
  /** Evidence of a statement, or of other bytes that the device signs. */
  evidence(statement?: Statement | Uint8Array): Document;
}

/** @param mayIssue whether its key is wrongly certified as an authority's */
export function makeSoftwareExampleDevice({ mayIssue = false } = {}): SoftwareExampleDevice {
  const root = makeRoot();
  const device = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const certificate = writeCertificate(
    {
      issuer: ROOT,
      subject: 'Example device 1',
      serialNumber: 2,
      notBefore: new Date(MADE_AT * 1000),
      notAfter: new Date((MADE_AT + YEAR_SECONDS) * 1000),
      publicKey: spkiOf(device.publicKey),
      extensions: mayIssue ? authorityExtensions(0) : [signingUsage],
    },
    root.key,
    'rsa-pkcs1-sha256',
  );
  const measurement = sha256(Uint8Array.of(1));
  const expectedDeviceValue = sha256(Uint8Array.of(2));
  const statement = (changes: Partial<Statement> = {}): Statement => ({
    version: 1,
    flags: { debug: false },
    firmwareVersion: 7,
    measurement,
    deviceValue: expectedDeviceValue,
    ...changes,
  });
  const evidence = (signed: Statement | Uint8Array = statement()): Document => {
    const bytes = signed instanceof Uint8Array ? signed : writeStatement(signed);
    const signature = sign('sha256', bytes, { key: device.privateKey, dsaEncoding: 'ieee-p1363' });
    return {
      statement: toBase64(bytes),
      signature: toBase64(signature),
      certificate: toBase64(certificate),
      intermediates: [],
    };
  };
  const inputs: DeviceInputs = {
    expectedDeviceValue,
    companionsDigest: NO_COMPANIONS,
    lab: 'lab-one',
    time: MADE_AT + 1000,
    anchors: [{ name: ROOT, certificate: root.certificate, simulated: true }],
    collateral: new Map(),
    enrolment: undefined,
    referenceValues: [
      {
        version: 1,
        class: 'example',
        name: 'example state',
        measurement: toHex(measurement),
        provenance: { source: 'a test', recordedAt: MADE_AT },
      },
    ],
    policy: { version: 1, class: 'example', minimumFirmwareVersion: 7 },
  };
  return { inputs, statement, evidence };
}

export function makeExampleFixture(): Promise<DeviceFixture> {
  const device = makeSoftwareExampleDevice();
  const foreign = makeRoot().certificate;
  return Promise.resolve({
    deviceClass: exampleDeviceClass,
    evidence: device.evidence(),
    inputs: device.inputs,
    binaryMembers: ['statement', 'signature', 'certificate'],
    zeroPaddedMembers: [],
    reserved: reservedPlaces(device),
    foreignAnchors: device.inputs.anchors.map(({ name, simulated }) => ({
      name,
      simulated,
      certificate: foreign,
    })),
    expired: { before: MADE_AT - 1, after: MADE_AT + YEAR_SECONDS + 1 },
    expectedCodes: {
      anchor: ['path-untrusted'],
      'device-value': ['example-binding'],
      'reference-values': ['example-measurement'],
      validity: ['path-validity'],
    },
  });
}

/** Flags without a name (byte 8 on), and the bytes at the end. */
function reservedPlaces(device: SoftwareExampleDevice): readonly SignedWrong[] {
  const good = writeStatement(device.statement());
  const places = [
    { at: 8, bit: 1 },
    { at: 11, bit: 7 },
    { at: 80, bit: 0 },
    { at: 95, bit: 7 },
  ];
  return places.map(({ at, bit }) => {
    const changed = good.slice();
    changed[at] = (changed[at] ?? 0) | (1 << bit);
    return { name: `byte ${at} bit ${bit}`, evidence: device.evidence(changed) };
  });
}
