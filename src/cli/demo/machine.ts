/** A machine of the demonstration with a TPM in software, which boots as a good machine or as another one. */

import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { X509Certificate } from 'node:crypto';

import { fromBase64, toBase64, toUtf8 } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import {
  manufactureSoftwareTpm,
  SoftwareTpm,
  softwareTpmAnchors,
  type BootMeasurements,
} from '../../agent/simulated/software-tpm.ts';
import { TpmAttester } from '../../agent/tpm/attester.ts';
import { alone, type BadState, type DemoDevice, type OpenDevices } from './device.ts';

/** Stand-ins for what firmware and boot loader measure into the PCRs that the shipped release policy asks for. */
const GOOD_BOOT = {
  0: 'firmware 1.0',
  2: 'option ROMs',
  4: 'boot loader and kernel 6.1',
  7: 'Secure Boot on',
};
const OTHER_BOOT = { ...GOOD_BOOT, 4: 'boot loader and a kernel of somebody else' };

function measurementsOf(boot: Readonly<Record<string, string>>): BootMeasurements {
  const digest = (text: string): Uint8Array => createHash('sha256').update(toUtf8(text)).digest();
  return Object.fromEntries(Object.entries(boot).map(([pcr, text]) => [pcr, [digest(text)]]));
}

const SETTINGS = join(import.meta.dirname, '..', '..', '..', 'policies', 'release', 'settings.yaml');

export class DemoMachine implements DemoDevice {
  readonly kind = 'a TPM';
  readonly settings = SETTINGS;
  readonly checks =
    'endorsement certificate, credential activation, quote, PCRs, nonce, policy, log proof, key commitment';
  readonly badStates: readonly BadState[] = [
    {
      what: 'another kernel booted',
      enter: async () => {
        await this.rebootInto('other');
        return this.options;
      },
    },
  ];
  private readonly tpm: SoftwareTpm;

  private constructor(tpm: SoftwareTpm) {
    this.tpm = tpm;
  }

  /** @param folder new; holds the state of the TPM and its own certification authority */
  static async switchOn(folder: string): Promise<DemoMachine> {
    await mkdir(folder, { recursive: true });
    await manufactureSoftwareTpm(folder);
    const machine = new DemoMachine(await SoftwareTpm.start(folder));
    await machine.tpm.measureBoot(measurementsOf(GOOD_BOOT));
    return machine;
  }

  get address(): string {
    return this.tpm.address;
  }

  /** Makes a server accept this TPM's authority, as simulated hardware. */
  async installAnchors(anchorsFolder: string): Promise<void> {
    const folder = join(anchorsFolder, 'simulated', 'tpm');
    await mkdir(folder, { recursive: true });
    for (const [i, certificate] of (await softwareTpmAnchors(this.tpm.folder)).entries()) {
      await writeFile(join(folder, `software-tpm-${i}.pem`), new X509Certificate(certificate).toString());
    }
  }

  get options(): readonly string[] {
    return ['--device', 'tpm', '--tpm', this.address];
  }

  runOptions(): readonly string[] {
    return [];
  }

  install(home: string): Promise<void> {
    return this.installAnchors(join(home, 'anchors'));
  }

  preparations(): readonly (readonly string[])[] {
    return [];
  }

  references(folder: string): ReturnType<DemoDevice['references']> {
    const file = join(folder, 'reference.json');
    const name = 'good-boot';
    const command = [
      ...['reference', 'record', '--tpm', this.address, '--pcrs', '0,2,4,7', '--name', name],
      ...['--source', 'the machine of the demonstration', '--out', file],
    ];
    return { commands: [command], documents: [{ name, file }] };
  }

  open(): Promise<OpenDevices> {
    return alone(TpmAttester.open(this.address));
  }

  /** The last byte of the statement belongs to the digest of the PCR values. */
  forge(evidence: JsonValue): JsonValue {
    const members = evidence as { readonly attest: string };
    const attest = fromBase64(members.attest, 'attest').slice();
    attest[attest.length - 1] = (attest.at(-1) ?? 0) ^ 1;
    return { ...members, attest: toBase64(attest) };
  }

  restore(): Promise<void> {
    return this.rebootInto('good');
  }

  async rebootInto(boot: 'good' | 'other'): Promise<void> {
    await this.tpm.reset();
    await this.tpm.measureBoot(measurementsOf(boot === 'good' ? GOOD_BOOT : OTHER_BOOT));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.tpm.stop();
  }
}
