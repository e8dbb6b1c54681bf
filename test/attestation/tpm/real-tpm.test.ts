/** The verifier against keys and quotes that Debian's tpm2-tools make in a simulated TPM. */

import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { sha256 } from '@noble/hashes/sha2.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { computeDeviceValue } from '../../../attestation/core/binding.ts';
import { concatBytes, toHex } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import { encodeEvidence, parseEvidence, verifyEvidence } from '../../../attestation/core/evidence.ts';
import { bigEndian, encode, sizedBytes } from '../../../attestation/core/layout.ts';
import type { Trusted } from '../../../attestation/core/trusted.ts';
import { credentialRandomnessBytes, makeCredential } from '../../../attestation/tpm/credential.ts';
import { tpmDeviceClass } from '../../../attestation/tpm/device-class.ts';
import { verifyEndorsementCertificate } from '../../../attestation/tpm/endorsement-certificate.ts';
import type { EndorsementClaims } from '../../../attestation/tpm/endorsement-certificate.ts';
import {
  certifiedEndorsementKey,
  enrolmentRecord,
  verifyAttestationKey,
} from '../../../attestation/tpm/enrolment.ts';
import type { AttestationKeyClaims } from '../../../attestation/tpm/enrolment.ts';
import { NO_LOGS, writeTpmEvidence } from '../../../attestation/tpm/evidence.ts';
import { startTestTpm, swtpmMissing } from '../../support/swtpm.ts';
import type { TestTpm } from '../../support/swtpm.ts';
import { tpm2Tools, tpm2ToolsMissing } from '../../support/tpm2-tools.ts';
import type { Tpm2Tools } from '../../support/tpm2-tools.ts';

const missing = swtpmMissing ?? tpm2ToolsMissing;
const PCRS = [0, 4, 7];

const keys = [
  { label: 'ECC key', ek: 'ecc', certificateIndex: '0x01c00016', ak: ['-G', 'ecc', '-s', 'ecdsa'] },
  { label: 'RSA key', ek: 'rsa', certificateIndex: '0x01c00002', ak: ['-G', 'rsa', '-s', 'rsassa'] },
  { label: 'RSA key with PSS', ek: 'rsa', certificateIndex: '0x01c00002', ak: ['-G', 'rsa', '-s', 'rsapss'] },
] as const;

describe.skipIf(missing)('quotes of tpm2-tools', () => {
  let machine: TestTpm;
  let tools: Tpm2Tools;
  const read = async (name: string): Promise<Uint8Array> =>
    new Uint8Array(await readFile(join(machine.folder, name)));

  beforeAll(async () => {
    machine = await startTestTpm();
    tools = tpm2Tools(machine.tpm.address, machine.folder);
    for (const pcr of PCRS) await tools.run('pcrextend', `${pcr}:sha256=${'ab'.repeat(32)}`);
  });
  afterAll(() => machine.remove());

  async function endorsement(index: string): Promise<Trusted<EndorsementClaims>> {
    await tools
      .run('nvread', '-C', 'o', index, '-o', 'ek.certificate')
      .catch(() => tools.run('nvread', index, '-o', 'ek.certificate'));
    const [root, ...issuers] = machine.anchors;
    const verdict = await verifyEndorsementCertificate(await read('ek.certificate'), {
      intermediates: issuers,
      anchors: [{ name: 'swtpm', certificate: root!, simulated: true }],
      time: Math.floor(Date.now() / 1000),
      validity: 'enforce',
    });
    if (verdict.outcome === 'refused') throw new Error(JSON.stringify(verdict.refusals));
    return verdict.claims;
  }

  async function attestationKey(): Promise<Trusted<AttestationKeyClaims>> {
    const sized = await read('ak.public');
    const verdict = await verifyAttestationKey(sized.subarray(2));
    if (verdict.outcome === 'refused') throw new Error(JSON.stringify(verdict.refusals));
    return verdict.claims;
  }

  /** The file that tpm2_activatecredential reads: a header of its own and both structures with their sizes. */
  async function activate(
    ek: Trusted<EndorsementClaims>,
    ak: Trusted<AttestationKeyClaims>,
    secret: Uint8Array,
  ): Promise<Uint8Array> {
    const area = certifiedEndorsementKey(ek);
    const randomness = new Uint8Array(randomBytes(credentialRandomnessBytes(area)));
    const { credentialBlob, encryptedSecret } = await makeCredential(area, ak.name, secret, randomness);
    const withSize = (bytes: Uint8Array): Uint8Array => encode(sizedBytes(bigEndian.u16()), bytes, 'sized');
    const header = Uint8Array.of(0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1);
    await writeFile(
      join(machine.folder, 'credential'),
      concatBytes(header, withSize(credentialBlob), withSize(encryptedSecret)),
    );
    const files = ['-c', 'ak', '-C', 'ek', '-i', 'credential', '-o', 'secret'];
    if (ek.publicKey.type === 'ec') {
      // Keys of the high range may be used with their empty password.
      await tools.run('activatecredential', ...files);
      return read('secret');
    }
    await tools.run('startauthsession', '--policy-session', '-S', 'session');
    await tools.run('policysecret', '-S', 'session', '-c', 'e');
    await tools.run('activatecredential', ...files, '-P', 'session:session');
    await tools.run('flushcontext', 'session');
    return read('secret');
  }

  async function evidenceFor(deviceValue: Uint8Array, scheme: string): Promise<JsonValue> {
    const selection = `sha256:${PCRS.join(',')}`;
    const request = [
      '-c',
      'ak',
      '-l',
      selection,
      '-q',
      toHex(deviceValue),
      '--scheme',
      scheme,
      '-g',
      'sha256',
    ];
    await tools.run('quote', ...request, '-m', 'attest', '-s', 'signature');
    await tools.run('pcrread', selection, '-o', 'values');
    const values = await read('values');
    return writeTpmEvidence(
      {
        akPublic: (await read('ak.public')).subarray(2),
        attest: await read('attest'),
        signature: await read('signature'),
        bank: 'sha256',
        pcrs: new Map(PCRS.map((pcr, i) => [pcr, values.subarray(32 * i, 32 * i + 32)])),
      },
      NO_LOGS,
      null,
    );
  }

  it.each(keys)(
    'EV-16, EV-22, EV-25: $label is enrolled, quoted and accepted',
    async ({ ek, certificateIndex, ak }) => {
      await tools.flush();
      if (ek === 'ecc') {
        await tools.run('readpublic', '-c', '0x81010016', '-t', 'ek');
      } else {
        await tools.run('createek', '-c', 'ek', '-G', ek, '-u', 'ek.public');
      }
      await tools.run('createak', '-C', 'ek', '-c', 'ak', '-g', 'sha256', ...ak, '-u', 'ak.public');
      await tools.flush();
      const endorsed = await endorsement(certificateIndex);
      const key = await attestationKey();
      const secret = new Uint8Array(randomBytes(32));
      expect(toHex(await activate(endorsed, key, secret))).toBe(toHex(secret));

      const binding = sha256(new Uint8Array(randomBytes(32)));
      const identity = Uint8Array.from(Buffer.from(key.identity, 'hex'));
      const evidence = await evidenceFor(computeDeviceValue('tpm', binding, identity), ak[3]);
      const bundle = encodeEvidence([{ class: 'tpm', evidence }]);
      const devices = parseEvidence(bundle, new Map([['tpm', tpmDeviceClass]]));
      const measured = toHex(sha256(concatBytes(new Uint8Array(32), new Uint8Array(32).fill(0xab))));
      const verdict = await verifyEvidence(devices, {
        binding,
        lab: 'lab-one',
        time: Math.floor(Date.now() / 1000),
        deviceSets: [[{ class: 'tpm', count: 1, models: 'any', devices: 'any' }]],
        classes: new Map([
          [
            'tpm',
            {
              anchors: [{ name: 'swtpm', certificate: machine.anchors[0]!, simulated: true }],
              collateral: new Map(),
              referenceValues: [
                {
                  version: 2,
                  class: 'tpm',
                  name: 'test',
                  bank: 'sha256',
                  pcrs: Object.fromEntries(PCRS.map((pcr) => [String(pcr), [measured]])),
                  boot: null,
                  provenance: { source: 'a test', recordedAt: 1_700_000_000 },
                },
              ],
              policy: {
                version: 2,
                class: 'tpm',
                bank: 'sha256',
                pcrs: PCRS,
                registers: 'reference',
                ratchet: 'none',
                boot: 'any',
                allowUnsafeClock: true,
                deniedFirmware: [],
              },
            },
          ],
        ]),
        enrolments: new Map([[`tpm/${key.identity}`, enrolmentRecord('lab-one', key, endorsed)]]),
      });
      expect(verdict).toMatchObject({ outcome: 'accepted', devices: [{ class: 'tpm', simulated: true }] });
    },
  );
});
