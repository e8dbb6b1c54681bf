/** A server and a machine with a TPM in software, whose state a test copies, restores, clears and resets. */

import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { X509Certificate } from 'node:crypto';
import { createHash } from 'node:crypto';
import { join } from 'node:path';

import { bigEndian, structure } from '../../attestation/core/layout.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { declare } from '../../native/tpm-commands/commands.ts';
import { Tpm } from '../../native/tpm-commands/tpm.ts';
import { enrol, requestRelease, type ReleasedKey } from '../../src/agent/key-release.ts';
import { SoftwareTpm } from '../../src/agent/simulated/software-tpm.ts';
import { TpmAttester } from '../../src/agent/tpm/attester.ts';
import { readCurrentPcrs } from '../../src/agent/tpm/current-pcrs.ts';
import { examplePredicates, signers } from './governance.ts';
import { refusalCodeAsync } from './refusal-code.ts';
import { SUBJECT, TestServer } from './release-server.ts';
import { expectSameAtTheEnd } from './replay.ts';
import { startTestTpm, type TestTpm } from './swtpm.ts';

const { u64 } = bigEndian;
const PCRS = [0, 4, 7];
const LOCKOUT = 0x4000000a;
const OWNER = 0x40000001;
const nothing = structure({});

/** Handles: who authorizes. Part 3, section 24.6. */
const clear = declare({
  name: 'TPM2_Clear',
  code: 0x126,
  authorizations: 1,
  parameters: nothing,
  response: nothing,
});
/** Handles: who authorizes. Part 3, section 29.2: only forward. */
const clockSet = declare({
  name: 'TPM2_ClockSet',
  code: 0x128,
  authorizations: 1,
  parameters: structure({ clock: u64() }),
  response: nothing,
});

/** What firmware and boot loader measure at each start of the machine. */
const GOOD_BOOT = Object.fromEntries(
  PCRS.map((pcr) => [pcr, [createHash('sha256').update(`good ${pcr}`).digest()]]),
);

export class RollbackWorld {
  readonly server: TestServer;
  readonly machine: TestTpm;
  private readonly others: SoftwareTpm[] = [];

  private constructor(server: TestServer, machine: TestTpm) {
    this.server = server;
    this.machine = machine;
  }

  /** An enrolled machine under a policy that asks for the ratchet. */
  static async build(ratchet: 'required' | 'exclusive'): Promise<RollbackWorld> {
    const machine = await startTestTpm();
    await machine.tpm.measureBoot(GOOD_BOOT);
    const server = await TestServer.createReady();
    expectSameAtTheEnd(server);
    const world = new RollbackWorld(server, machine);
    await world.trust(ratchet);
    await world.enrol(machine.tpm);
    return world;
  }

  async close(): Promise<void> {
    for (const tpm of this.others) await tpm.stop();
    await this.machine.remove();
  }

  private async trust(ratchet: 'required' | 'exclusive'): Promise<void> {
    const { server, machine } = this;
    for (const [i, certificate] of machine.anchors.entries()) {
      const path = join(server.path, `anchors/simulated/tpm/swtpm-${i}.pem`);
      await writeFile(path, new X509Certificate(certificate).toString());
    }
    await server.restart();
    const { accreditation, releasePolicy, referenceValues } = examplePredicates;
    const machines = [{ name: 'rack-1', endorsementKeyDigest: await this.endorsementKeyDigest() }];
    const statedAt = accreditation.statedAt + 1;
    const endsAt = server.clock.start + 1_000_000;
    await server.state('lab-accreditation/v1', { ...accreditation, machines, endsAt, statedAt });
    const tpm = { ...releasePolicy.tpm, pcrs: PCRS, ratchet };
    await server.state('release-policy/v1', { ...releasePolicy, epoch: releasePolicy.epoch + 1, tpm });
    const pcrs = await readCurrentPcrs(machine.tpm.address, PCRS);
    const values = {
      version: 2,
      class: 'tpm',
      name: 'swtpm',
      bank: 'sha256',
      pcrs: Object.fromEntries(Object.entries(pcrs).map(([pcr, value]) => [pcr, [value]])),
      boot: null,
      provenance: { source: 'a test', recordedAt: 1_700_000_000 },
    };
    await server.state('reference-values/v1', { ...referenceValues, name: 'swtpm', values }, [
      signers.anna,
      signers.bert,
    ]);
  }

  private async endorsementKeyDigest(): Promise<string> {
    const attester = await TpmAttester.open(this.machine.tpm.address);
    try {
      const { subjectPublicKeyInfo } = readCertificate(attester.endorsementCertificate, 'certificate');
      return createHash('sha256').update(subjectPublicKeyInfo).digest('hex');
    } finally {
      await attester.close();
    }
  }

  /** @param anew as a person of the lab who vouches for the machine */
  async enrol(tpm: SoftwareTpm, anew = false): Promise<void> {
    await this.with(tpm, (attester) => enrol(this.server.agent(), attester, { anew }));
  }

  /** A key, or with a lease to renew its renewal, by an agent on this TPM. */
  ask(tpm: SoftwareTpm, renews: string | null = null): Promise<ReleasedKey> {
    return this.with(tpm, (attester) =>
      requestRelease(this.server.agent(), { ...SUBJECT, renews }, [attester]),
    );
  }

  /** The code by which {@link ask} is refused, or `accepted`. */
  answer(tpm: SoftwareTpm, renews: string | null = null): Promise<string> {
    return refusalCodeAsync(() => this.ask(tpm, renews));
  }

  async with<T>(tpm: SoftwareTpm, work: (attester: TpmAttester) => Promise<T>): Promise<T> {
    const attester = await TpmAttester.open(tpm.address);
    try {
      return await work(attester);
    } finally {
      await attester.close();
    }
  }

  /** Copies what the TPM has on its disk, as a thief would. */
  async copyState(name: string): Promise<string> {
    const folder = join(this.machine.folder, name);
    await mkdir(folder);
    await cp(join(this.machine.folder, 'state'), join(folder, 'state'), { recursive: true });
    return folder;
  }

  /** Starts a machine on a copy, which boots what the original boots. */
  async startCopy(folder: string): Promise<SoftwareTpm> {
    const tpm = await SoftwareTpm.start(folder);
    this.others.push(tpm);
    await tpm.measureBoot(GOOD_BOOT);
    return tpm;
  }

  /** Stops the machine, puts a copy in the place of its state, and starts it again. */
  async restoreState(folder: string): Promise<void> {
    const state = join(this.machine.folder, 'state');
    await this.machine.tpm.stop();
    await rm(state, { recursive: true });
    await cp(join(folder, 'state'), state, { recursive: true });
    await this.restart();
  }

  /** Starts the machine anew; it boots what it should. */
  async restart(): Promise<void> {
    await this.machine.tpm.reset();
    await this.machine.tpm.measureBoot(GOOD_BOOT);
  }

  /** Pulses the reset line: the machine goes on, and nothing is measured again. */
  async resetTpm(): Promise<void> {
    await this.machine.tpm.reset();
  }

  clear(): Promise<void> {
    return this.command((tpm) => tpm.run(clear, { handles: [LOCKOUT], parameters: {} }));
  }

  /** Sets the TPM's clock by so many milliseconds. */
  setTpmClock(milliseconds: number): Promise<void> {
    return this.command(async (tpm) => {
      const { clockInfo } = await tpm.clock();
      const parameters = { clock: BigInt.asUintN(64, clockInfo.clock + BigInt(milliseconds)) };
      await tpm.run(clockSet, { handles: [OWNER], parameters });
    });
  }

  private async command(work: (tpm: Tpm) => Promise<unknown>): Promise<void> {
    const tpm = await Tpm.open(this.machine.tpm.address);
    try {
      await work(tpm);
    } finally {
      await tpm.close();
    }
  }
}
