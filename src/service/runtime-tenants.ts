/**
 * Tenants and keys that are made while the service runs: follows their store, joins them with those of the files, and has each change in
 * force here before it is answered. While the store is away what is in force stays in force; a start without it takes the last copy.
 */
import type { Config } from '../config/config.ts';
import { atMost } from '../domain/at-most.ts';
import { messageOf, textOf } from '../domain/text-of.ts';
import type { ServiceEvent } from '../telemetry/telemetry.ts';
import { CheckedTenants, type KeptOut, type MergedTenants, mergeTenants } from '../tenant/merge-tenants.ts';
import type { Decision, Known } from '../tenant/tenant-changes.ts';
import {
  type AuditEntry,
  type AuditPage,
  changedState,
  NOTHING_STORED,
  NotInForceError,
  type StoreChange,
  type StoredState,
  type TenantStore,
  TenantStoreError,
} from '../tenant/tenant-store.ts';
import { requireKept } from './kept-tenants.ts';
import { KeyUse } from './key-use.ts';

/** Between two looks at the store: a change elsewhere is in force within a second. */
const LOOK_MS = 250;
/** Looks between two tries to have in force what could not be: a full disk is not to be written to all the time. */
const LOOKS_BETWEEN_TRIES = 4;
/** A start does not wait longer for the store. */
const FIRST_READ_MS = 3_000;
/** For a store that says nothing when the service ends. */
const END_MS = 2_000;
/** Of two who change something at once one decides again. */
const MOST_TRIES = 5;

/** Where the last known state is kept on this machine. */
export interface TenantCopy {
  readonly path: string;
  /** Undefined: there is none, or it is none of ours. */
  read(): StoredState | undefined;
  /** @throws when it cannot be written. */
  write(state: StoredState): void;
}

export interface RuntimeTenantsOptions {
  /** Opens the store. @throws TenantStoreError when it is away. */
  readonly open: () => Promise<TenantStore>;
  /** For messages. */
  readonly shown: string;
  readonly copy: TenantCopy;
  readonly unixMs: () => number;
}

/** Whom a change is told. */
export interface RuntimeTenantsWorld {
  readonly tell: (event: ServiceEvent) => void;
  /** Takes the tenants over that `merge` now gives. Resolves when they are in force. */
  readonly retake: () => Promise<void>;
}

interface Trouble {
  /** Unix time. */
  readonly sinceMs: number;
  readonly reason: string;
}

export interface StoreStatus {
  readonly shown: string;
  /** Undefined: it answers. */
  readonly away?: Trouble;
  /** Absent: what is stored is in force here. */
  readonly notInForce?: Trouble;
  readonly tenants: number;
  readonly keys: number;
}

const NOWHERE: RuntimeTenantsWorld = { tell: () => undefined, retake: () => Promise.resolve() };

export class RuntimeTenants {
  readonly #options: RuntimeTenantsOptions;
  readonly #checks = new CheckedTenants();
  #world = NOWHERE;
  #store: TenantStore | undefined;
  /** In force, or about to be. */
  #state: StoredState = NOTHING_STORED;
  /** Version that is in force for certain; -1: none is. */
  #taken = -1;
  #merged: MergedTenants | undefined;
  #mergedVersion = -1;
  #files: Config | undefined;
  #away: Trouble | undefined;
  /** What keeps the state from being in force here, such as a disk that is full. */
  #notInForce: Trouble | undefined;
  /** Looks until that is tried again. */
  #looksToTry = 0;
  #toldKeptOut = '';
  readonly #use: KeyUse;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  /** Looks and changes, one after another. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: RuntimeTenantsOptions) {
    this.#options = options;
    this.#use = new KeyUse(options.unixMs());
  }

  /** Reads the store, or the copy where that does not answer. Never rejects. */
  async open(): Promise<void> {
    const copy = this.#options.copy.read();
    if (copy !== undefined) this.#state = copy;
    const look = this.#inTurn(() => this.#look(true));
    await atMost(FIRST_READ_MS, look);
  }

  /** From now on changes are followed. What was merged last is in force. */
  follow(world: RuntimeTenantsWorld): void {
    this.#world = world;
    this.#taken = this.#mergedVersion;
    if (this.#away !== undefined) this.#tellStore(false, this.#away.reason);
    this.#tellKeptOut();
    const look = async (): Promise<void> => {
      await this.#inTurn(() => this.#look(false));
      if (this.#isClosed) return;
      this.#timer = setTimeout(() => void look(), LOOK_MS);
      this.#timer.unref();
    };
    void look();
  }

  /** A configuration of files with what was made. What is kept out is told. */
  readonly merge = (read: Config): Config => {
    // Without the section the API goes on until a restart, and so do its tenants.
    const admin = read.admin ?? this.#files?.admin;
    const files = admin === undefined ? read : { ...read, admin };
    this.#files = files;
    this.#merged = mergeTenants(files, this.#state, this.#options.unixMs(), this.#checks);
    this.#mergedVersion = this.#state.version;
    this.#tellKeptOut();
    return this.#merged.config;
  };

  get state(): StoredState {
    return this.#state;
  }

  /** The files' alone, as they were merged last. */
  get files(): Config | undefined {
    return this.#files;
  }

  get merged(): MergedTenants | undefined {
    return this.#merged;
  }

  /** Those that are not served as they were made. */
  keptOut(): readonly KeptOut[] {
    return this.#merged?.keptOut ?? [];
  }

  status(): StoreStatus {
    return {
      shown: this.#options.shown,
      ...(this.#away !== undefined && { away: this.#away }),
      ...(this.#notInForce !== undefined && { notInForce: this.#notInForce }),
      tenants: this.#state.tenants.size,
      keys: this.#state.keys.size,
    };
  }

  /** For gauges. */
  counts(): {
    readonly isConnected: boolean;
    readonly tenants: number;
    readonly keys: number;
    readonly keptOut: number;
  } {
    const { tenants, keys } = this.#state;
    const isConnected = this.#away === undefined;
    return { isConnected, tenants: tenants.size, keys: keys.size, keptOut: this.keptOut().length };
  }

  /** A request came with a key. It is told later. */
  noteUse(keyId: string): void {
    if (this.#state.keys.has(keyId)) this.#use.note(keyId, this.#options.unixMs());
  }

  /** What is noted and not told yet. */
  usedMs(keyId: string): number | undefined {
    return this.#use.usedMs(keyId);
  }

  /**
   * Changes something, and resolves when that is in force here.
   *
   * @param decide is called again where somebody else was faster.
   * @throws TenantStoreError when the store is away: nothing is changed then. NotInForceError when it is stored alone.
   */
  change(actor: string, decide: (known: Known) => Decision): Promise<Decision> {
    return this.#inTurn(() => this.#change(actor, decide));
  }

  /** @throws TenantStoreError. */
  async audit(page: AuditPage): Promise<readonly AuditEntry[]> {
    return (await this.#opened()).audit(page);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await atMost(END_MS, this.#end());
  }

  async #end(): Promise<void> {
    await this.#last;
    await this.#tellUse().catch(() => undefined);
    await this.#store?.close();
  }

  /** One after another: each sees what the one before it left. */
  #inTurn<T>(what: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(what);
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #change(actor: string, decide: (known: Known) => Decision): Promise<Decision> {
    const files = this.#files;
    if (files === undefined) throw new TenantStoreError('away', 'the service has not started yet');
    const store = await this.#opened();
    for (let tries = 0; tries < MOST_TRIES; tries += 1) {
      // What was decided on an old state is a conflict; most often it is the one that there is.
      if (tries > 0) await this.#take(await this.#read(store));
      const known = { state: this.#state, files, actor, nowMs: this.#options.unixMs() };
      const decision = decide(known);
      if (decision.kind === 'same') {
        await this.#take(this.#state);
        return decision;
      }
      if (decision.kind === 'refused') {
        // It may be so only because this replica has not seen the last change.
        if (tries > 0 || (await this.#version(store)) === this.#state.version) return decision;
        continue;
      }
      if ((await this.#asked(() => store.write(decision.change))) === 'conflict') continue;
      await this.#take(changedState(this.#state, decision.change));
      this.#tellChange(decision.change);
      return decision;
    }
    throw new TenantStoreError('away', 'others change tenants all the time');
  }

  /** Never rejects. */
  async #look(isFirst: boolean): Promise<void> {
    if (this.#isClosed && !isFirst) return;
    try {
      const store = await this.#opened();
      const isUseDue = this.#use.isDue(this.#options.unixMs());
      if (isUseDue) await this.#tellUse();
      const version = await this.#version(store);
      if (!isFirst && !isUseDue && version === this.#taken) return;
      if (this.#notInForce !== undefined && version === this.#state.version && this.#looksToTry > 0) {
        this.#looksToTry -= 1;
        return;
      }
      await this.#take(await this.#read(store));
    } catch (error) {
      // Those are told already; a bug is told like a store that is away: the next look tries again.
      if (!(error instanceof TenantStoreError || error instanceof NotInForceError)) this.#isAway(error);
    }
  }

  /** @throws TenantStoreError. */
  async #opened(): Promise<TenantStore> {
    this.#store ??= await this.#asked(this.#options.open);
    return this.#store;
  }

  #version(store: TenantStore): Promise<number> {
    return this.#asked(async () => {
      const { version: least } = this.#state;
      const version = await store.version();
      requireKept(version, least, this.#options);
      return version;
    });
  }

  #read(store: TenantStore): Promise<StoredState> {
    return this.#asked(async () => {
      const { version: least } = this.#state;
      const state = await store.read();
      requireKept(state.version, least, this.#options);
      return state;
    });
  }

  async #asked<T>(ask: () => Promise<T>): Promise<T> {
    try {
      const answer = await ask();
      if (this.#away !== undefined) {
        this.#away = undefined;
        this.#tellStore(true);
      }
      return answer;
    } catch (error) {
      this.#isAway(error);
      throw error;
    }
  }

  #isAway(error: unknown): void {
    // Of what a store says its stack tells nothing.
    const reason = error instanceof TenantStoreError ? error.message : textOf(error);
    const isNews = this.#away === undefined;
    this.#away = { sinceMs: this.#away?.sinceMs ?? this.#options.unixMs(), reason };
    if (isNews) this.#tellStore(false, reason);
  }

  /** In force when it resolves. @throws NotInForceError. */
  async #take(state: StoredState): Promise<void> {
    this.#state = state;
    if (state.version === this.#taken) return;
    const world = this.#world;
    try {
      await world.retake();
    } catch (error) {
      this.#isNotInForce(error);
      throw new NotInForceError(messageOf(error), { cause: error });
    }
    // Before anybody follows, what is in force is what is merged last.
    if (world !== NOWHERE) this.#taken = state.version;
    if (this.#notInForce !== undefined) {
      this.#notInForce = undefined;
      world.tell({ kind: 'tenants-not-in-force', failing: false });
    }
    this.#writeCopy(state);
  }

  #isNotInForce(error: unknown): void {
    const isNews = this.#notInForce === undefined;
    const sinceMs = this.#notInForce?.sinceMs ?? this.#options.unixMs();
    this.#notInForce = { sinceMs, reason: messageOf(error) };
    this.#looksToTry = LOOKS_BETWEEN_TRIES;
    if (isNews) this.#world.tell({ kind: 'tenants-not-in-force', failing: true, problem: textOf(error) });
  }

  #writeCopy(state: StoredState): void {
    try {
      this.#options.copy.write(state);
    } catch (error) {
      this.#world.tell({ kind: 'tenants-copy-failed', problem: textOf(error) });
    }
  }

  async #tellUse(): Promise<void> {
    const store = this.#store;
    if (store !== undefined) await this.#use.tell((used) => this.#asked(() => store.used(used)));
  }

  #tellStore(connected: boolean, reason?: string): void {
    const { shown } = this.#options;
    this.#world.tell({
      kind: 'tenant-store',
      store: shown,
      connected,
      ...(reason !== undefined && { reason }),
    });
  }

  #tellChange({ audit: { action, tenant, actor, keyId } }: StoreChange): void {
    this.#world.tell({
      kind: 'tenant-changed',
      action,
      tenant,
      actor,
      ...(keyId !== undefined && { keyId }),
    });
  }

  #tellKeptOut(): void {
    if (this.#world === NOWHERE) return;
    const keptOut = this.keptOut();
    const text = JSON.stringify(keptOut);
    if (text === this.#toldKeptOut) return;
    this.#toldKeptOut = text;
    for (const { tenant, problems } of keptOut) {
      this.#world.tell({ kind: 'tenant-kept-out', tenant, problems });
    }
  }
}
