package Proc;
# Processes as /proc shows them.
use strict;
use warnings;

# { pid, ppid, state, start, cmdline [...], exe, cwd, helper (runs passenger-helper or passenger-prestart) }, or undef.
sub get {
    my ($pid) = @_;
    open my $fh, '<', "/proc/$pid/stat" or return;
    my $stat = <$fh> // return;
    my ($comm, $rest) = $stat =~ /^\d+ \((.*)\) (.*)/s or return;
    my @field = split ' ', $rest;
    my $cmdline = '';
    if (open my $cfh, '<', "/proc/$pid/cmdline") { local $/; $cmdline = <$cfh> // '' }
    my $exe = readlink("/proc/$pid/exe") // '';
    return {
        pid => $pid, state => $field[0], ppid => $field[1], start => $field[19], comm => $comm,
        cmdline => [split /\0/, $cmdline], exe => $exe, cwd => readlink("/proc/$pid/cwd") // '',
        # The core lets nobody but root look at its file.
        helper => ($exe || $cmdline =~ s/\0.*//sr) =~ m{/passenger-(?:helper|prestart)( \(deleted\))?$} ? 1 : 0,
    };
}

sub all { map { get($_) // () } grep { /^\d+$/ } map { s{^/proc/}{}r } glob '/proc/[0-9]*' }

# Processes that run a file below a folder, work in it, or name it in their arguments; not this one. Of all, or of those that are given.
sub below {
    my ($dir, @all) = @_;
    return grep { $_->{pid} != $$ && ("$_->{exe}/" =~ m{^\Q$dir\E/} || "$_->{cwd}/" =~ m{^\Q$dir\E/} || grep { /\Q$dir\E/ } @{ $_->{cmdline} }) } @all ? @all : all();
}

sub descendants {
    my ($root) = @_;
    my @all = all();
    my %in = ($root => 1);
    my $n = 0;
    while ($n != keys %in) {
        $n = keys %in;
        $in{ $_->{pid} } = 1 for grep { $in{ $_->{ppid} } } @all;
    }
    return grep { $in{ $_->{pid} } && $_->{pid} != $root } @all;
}

# True while the pid names a process that is no zombie; while it is the very process that get described.
sub alive { my $p = get($_[0]); $p && $p->{state} ne 'Z' ? 1 : 0 }
sub same  { my $now = get($_[0]{pid}); $now && $now->{start} eq $_[0]{start} && $now->{state} ne 'Z' ? 1 : 0 }

# What the descriptors of a process point to, "fd:target".
sub fds {
    my ($pid) = @_;
    return () unless $pid;
    return map { my $fd = $_; my $to = readlink; defined $to ? $fd =~ s{.*/}{}r . ":$to" : () } glob "/proc/$pid/fd/*";
}

# uid and gids that a process runs with: { uid [4], gid [4], groups [...] }.
sub ids {
    my ($pid) = @_;
    open my $fh, '<', "/proc/$pid/status" or return;
    my $text = do { local $/; <$fh> };
    my %id;
    for (qw(Uid Gid Groups)) { $id{ lc $_ } = [split ' ', $1] if $text =~ /^$_:[ \t]*(.*)$/m }
    return \%id;
}

# The environment that a process was started with.
sub environment {
    my ($pid) = @_;
    open my $fh, '<', "/proc/$pid/environ" or return {};
    my $text = do { local $/; <$fh> } // '';
    return { map { /^([^=]*)=(.*)$/s ? ($1, $2) : () } split /\0/, $text };
}

1;
