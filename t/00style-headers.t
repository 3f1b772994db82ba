# Each header compiles alone and says what every function promises.
use strict;
use warnings;
use Test::More;

chomp(my $flags = `apr-1-config --cppflags --includes | tr '\\n' ' '`);
chomp(my $httpd = `apxs -q INCLUDEDIR`);

for my $f (sort glob '{apr-glue,mod_passenger,helper,helper/tools,t/lib}/*.h') {
    my $out = `echo '#include "$f"' | gcc -std=gnu11 -Wall -Wextra -Werror -I. $flags -I$httpd -fsyntax-only -x c - 2>&1`;
    is $?, 0, "$f compiles alone" or diag $out;
    my @bare = undocumented($f);
    ok !@bare, "$f documents its functions" or diag map { "  $_\n" } @bare;
}
done_testing;

# Prototypes with no comment before them in their block (lines without an empty one between). What creates, destroys or initialises a
# type is covered by the comment on the type.
sub undocumented {
    my ($f) = @_;
    my $text = do { local (@ARGV, $/) = $f; <> };
    my @bare;
    for my $block (split /\n[ \t]*\n/, $text) {
        my $told = 0;
        for (split /\n/, $block) {
            $told = 1 if m{\*/};
            next unless /^(?!typedef|struct|enum|static|return)[a-z][\w \t*]*?\b(\w+)\((?!\()/ && !/^\w+\(/;
            $told = 1 if $1 =~ /_(create|destroy|init)$/;
            push @bare, $1 unless $told;
        }
    }
    return @bare;
}
