/** A machine of the demonstration with a TPM in software, which boots as a good machine or as another one. */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { X509Certificate } from 'node:crypto';

import { fromBase64, toBase64 } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import {
  manufactureSoftwareTpm,
  SoftwareTpm,
  softwareTpmAnchors,
} from '../../agent/simulated/software-tpm.ts';
import { writeEventLog } from '../../agent/simulated/event-log-writer.ts';
import { TpmAttester } from '../../agent/tpm/attester.ts';
import {
  type DemoBoot,
  eventsOf,
  GOOD_BOOT,
  measurementsOf,
  OTHER_COMMAND_LINE,
  OTHER_KERNEL,
} from './boots.ts';
import { alone, type BadState, type DemoDevice, type OpenDevices } from './device.ts';

const SETTINGS = join(import.meta.dirname, '..', '..', '..', 'policies', 'release', 'settings.yaml');

export class DemoMachine implements DemoDevice {
  readonly kind = 'a TPM';
  readonly settings = SETTINGS;
  readonly checks =
    'endorsement certificate, credential activation, quote, PCRs, boot log, nonce, policy, log proof, key commitment';
  readonly badStates: readonly BadState[] = [
    this.stateAfter('another kernel booted', OTHER_KERNEL),
    this.stateAfter('the kernel booted with a shell in place of the system', OTHER_COMMAND_LINE),
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
    await machine.boot(GOOD_BOOT);
    return machine;
  }

  private stateAfter(what: string, boot: DemoBoot): BadState {
    const enter = async (): Promise<readonly string[]> => {
      await this.rebootInto(boot);
      return this.options;
    };
    return { what, enter };
  }

  /** The TPM is at its initial values. */
  private async boot(boot: DemoBoot): Promise<void> {
    const events = eventsOf(boot);
    await this.tpm.measureBoot(measurementsOf(events));
    await writeFile(this.eventLog, writeEventLog(events));
  }

  /** Where this machine keeps what a kernel would show under /sys. */
  get eventLog(): string {
    return join(this.tpm.folder, 'binary_bios_measurements');
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
    return ['--device', 'tpm', '--tpm', this.address, '--tpm-event-log', this.eventLog];
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
      ...['reference', 'record', '--tpm', this.address, '--pcrs', '0,2,7', '--name', name],
      ...['--boot', 'images,loader', '--tpm-event-log', this.eventLog],
      ...['--source', 'the machine of the demonstration', '--out', file],
    ];
    return { commands: [command], documents: [{ name, file }] };
  }

  open(): Promise<OpenDevices> {
    return alone(TpmAttester.open(this.address, { logs: { eventLog: this.eventLog } }));
  }

  /** The last byte of the statement belongs to the digest of the PCR values. */
  forge(evidence: JsonValue): JsonValue {
    const members = evidence as { readonly attest: string };
    const attest = fromBase64(members.attest, 'attest').slice();
    attest[attest.length - 1] = (attest.at(-1) ?? 0) ^ 1;
    return { ...members, attest: toBase64(attest) };
  }

  restore(): Promise<void> {
    return this.rebootInto(GOOD_BOOT);
  }

  async rebootInto(boot: DemoBoot): Promise<void> {
    await this.tpm.reset();
    await this.boot(boot);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.tpm.stop();
  }
}
