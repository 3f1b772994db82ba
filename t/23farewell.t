# Children of Apache that are to go and have WebSockets: new visitors are served, the oldest give way first, and stop and restart take no longer. All MPMs
# beside each other, since most of it is waiting.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Harness;

# Apache's places (ServerLimit for event, MaxRequestWorkers for the others), and how many tunnels it takes until children have all of them: on event, a child has any number, elsewhere one here.
my %places = (
    event => ["ServerLimit 2\nThreadsPerChild 4\nMaxRequestWorkers 8\nStartServers 1\n", 1],
    worker => ["ServerLimit 6\nThreadsPerChild 1\nMaxRequestWorkers 3\nStartServers 3\nMaxSpareThreads 3\n", 2],
    prefork => ["ServerLimit 6\nMaxRequestWorkers 3\nStartServers 3\nMinSpareServers 1\nMaxSpareServers 3\n", 2],
);
my @all = map { { mpm => $_, h => Harness->new(mpm => $_), fill => $places{$_}[1] } } Harness->mpms;
for my $s (@all) {
    my $app = $s->{h}->copy_app('tunnel');
    # What Apache says where it has no place; no child is to be told twice (AH00045).
    $s->{h}->allow_log('AH00161', 'AH00286', 'AH00484', 'AH03490', 'AH10159');
    $s->{h}->start(conf => "$places{$s->{mpm}}[0]Timeout 60\nGracefulShutdownTimeout 60\nDocumentRoot $app/public\nPassengerMaxRequestQueueSize 0\n"
        . "<Location /sink>\nPassengerWebSocketGracefulTimeout 1\n</Location>\n");
}

sub tunnel {
    my ($s, $path) = @_;
    my $c = $s->{h}->client(timeout => 30);
    $c->write_request('GET', $path // '/echo', Connection => 'Upgrade', Upgrade => 'chat/1');
    my $r = $c->read_response('GET');
    is $r->status, 101, "$s->{mpm}: a tunnel" or diag $r->error;
    return $c;
}

sub echoes {
    my ($s, $c, $what) = @_;
    $c->send("ping\n");
    my $deadline = time + 10;
    1 while length $c->{in} < 5 && $c->_more($deadline);
    is substr($c->{in}, 0, 5, ''), "ping\n", "$s->{mpm}: $what";
}

# Visitors of all servers, who leave as soon as they have their answers: new children are few and have few threads.
sub visited {
    my ($what) = @_;
    my @left = @all;
    for my $s (@left) {
        $s->{visit} = $s->{h}->client;
        $s->{visit}->write_request('GET', '/', Connection => 'close');
    }
    wait_for {
        for my $s (@left) {
            $s->{visit}->_more(time + 0.01);
            $s->{visit}->close if $s->{visit}{eof};
        }
        @left = grep { !$_->{visit}{eof} } @left;
        !@left;
    } undef, 25;
    like $_->{visit}{in}, qr{^HTTP/1.1 200 }, "$_->{mpm}: $what" for @all;
}

sub events {
    my ($s) = @_;
    my $c = $s->{h}->client(timeout => 30);
    $c->write_request('GET', '/events');
    1 while $c->{in} !~ /data: 1/ && $c->_more(time + 10);
    like delete $c->{in}, qr/data: 1/, "$s->{mpm}: a stream of events";
    $c->{in} = '';
    return $c;
}

# PassengerWebSocketGracefulTimeout, to the second.
for my $s (@all) {
    @$s{qw(brief events)} = (tunnel($s, '/sink'), events($s));
    $s->{h}->graceful;
    $s->{since} = time;
}
for my $s (@all) {
    is $s->{brief}->closed(15), 1, "$s->{mpm}: a tunnel with a limit of a second ends";
    cmp_ok time - $s->{since}, '<', 15, "$s->{mpm}: ... then, not with Apache's TimeOut";
    is $s->{events}->closed(0), 0, "$s->{mpm}: a stream of events goes on";
}

# Old children have all places.
for my $s (@all) {
    $s->{more} = [map { tunnel($s) } 1 .. $s->{fill}];
    $s->{h}->graceful;
}
visited('a visitor is served when old children had all places');
for my $s (@all) {
    is $s->{events}->closed(10), 1, "$s->{mpm}: ... since the oldest have given way";
    echoes($s, $_, '... and no others') for @{ $s->{more} };
    $s->{h}->expect_log('PSG3300');
    my $told = () = $s->{h}->log_text =~ /PSG3300/g;
    is $told, 1, "$s->{mpm}: ... once";
    $s->{started} = $s->{h}->_control('restart');
}

# Old children, which have been told to go, are told that there is no time.
for my $s (@all) {
    wait_for { $s->{h}->started > $s->{started} } 'restart', 30;
    is $_->closed(5), 1, "$s->{mpm}: restart ends tunnels of old children" for @{ $s->{more} };
    $s->{last} = [tunnel($s), events($s)];
    $s->{h}->_control('graceful-stop');
}
for my $s (@all) {
    soon { $s->{h}->_gone } "$s->{mpm}: graceful-stop ends WebSockets and streams of events", 30;
    is $_->closed(5), 1, "$s->{mpm}: ... with Apache" for @{ $s->{last} };
    $s->{h}->finish;
}
done_testing;
